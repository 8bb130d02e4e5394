"""Autobahn's case definitions, which are Python 2, made to run on Python 3.

``python port.py`` in the folder with ``case``, ``testdata`` and ``caseset.py``.
Rule: a text of a case stays what it was in Python 2, bytes: latin-1, one character a byte.
"""

import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

# file name (or its beginning) → what is replaced in it, after 2to3
HEX = "import binascii\ndef _hex(x): return binascii.b2a_hex(to_bytes(x)).decode()\n"
TO_BYTES = "def to_bytes(x): return x.encode('latin-1') if isinstance(x, str) else x\n"
REPLACED = (
    ("case", "(object, Case, )", "(Case,)"),
    ("case", "pickle.dumps(obj1) == pickle.dumps(obj2)", "obj1 == obj2"),
    ("case", "binascii.b2a_hex(", "_hex("),
    ("case6_x_x", '.encode("utf-8")', '.encode("utf-8", "surrogatepass").decode("latin-1")'),
    ("case6_x_x", ".tostring()", ".tobytes().decode('latin-1')"),
    ("case10_1_1", "len(self.payload) / self.p", "len(self.payload) // self.p"),
    ("caseset", "spec.has_key(", "(lambda key: key in spec)("),
)
# Cases that the package lacks, or of compression, which is never offered here.
LEFT_OUT = re.compile(r".*(?:case9_9_1|1[23]_x_x).*\n", re.IGNORECASE)
VALIDATED = re.compile(r"\bv\.validate\(([^)]*)\)")


def port(file: Path) -> None:
    """One file."""
    text = file.read_text(encoding="utf-8")
    for beginning, old, new in REPLACED:
        if file.stem.startswith(beginning):
            text = text.replace(old, new)
    if file.stem == "__init__":
        text = LEFT_OUT.sub("", text)
    text = VALIDATED.sub(r"v.validate((\1).encode('latin-1'))", text)
    if "_hex(" in text:
        text = text.replace("import binascii", TO_BYTES + HEX, 1)
    if file.stem.startswith("case6_") and not text.isascii():
        text = as_utf8_bytes(text)
    file.write_text(text, encoding="utf-8")


def as_utf8_bytes(source: str) -> str:
    """The source with its literals as the UTF-8 bytes that they were in Python 2."""
    tokens = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        text = token.string
        if token.type == tokenize.STRING and not text.isascii():
            text = "".join(one if one.isascii() else escaped(one) for one in text)
        tokens.append((token.type, text))
    return tokenize.untokenize(tokens)


def escaped(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode())


def port_autobahn() -> None:
    """The library of that time divides integers."""
    import autobahn.websocket.protocol as library  # noqa: PLC0415 - of this environment only

    file = Path(library.__file__)
    old, new = "range(payload_len / len(payload))", "range(payload_len // len(payload))"
    file.write_text(file.read_text().replace(old, new))


if __name__ == "__main__":
    command = [sys.executable, "-W", "ignore", "-m", "lib2to3", "-w", "-n", "--no-diffs"]
    command += ["case", "caseset.py"]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - a command of this file
    for file in (*Path("case").glob("*.py"), Path("caseset.py")):
        port(file)
    port_autobahn()
