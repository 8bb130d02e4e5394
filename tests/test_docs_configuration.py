"""docs/configuration.md and config.toml have every key of the configuration, with its default."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ws_bridge.config import Config
from ws_bridge.config.model import LISTS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "configuration.md"
FILE = ROOT / "config.toml"

Table = dict[str, tuple[str, str]]  # key: type and default, as a page has them

CELL = re.compile(r"(?<!\\)\|")
REQUIRED = "required"


def tables(page: str) -> dict[str, Table]:
    """The tables of the page, by the name of their section."""
    found: dict[str, Table] = {}
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        title, _, text = section.partition("\n")
        rows = [line for line in text.splitlines() if line.startswith("| `")]
        cells = [[cell.strip() for cell in CELL.split(row)[1:-1]] for row in rows]
        found[title.strip("[] ")] = {key.strip("`"): (kind, one) for key, kind, one, *_ in cells}
    return found


def sections_of(schema: Mapping[str, Any]) -> dict[str, Table]:
    """The same of the configuration's JSON schema."""
    found = {}
    for name, section in schema["properties"].items():
        reference = section.get("items", section)["$ref"]
        fields = schema["$defs"][reference.rpartition("/")[2]]
        found[name] = {
            key: (kind_of(field), default_of(field)) for key, field in fields["properties"].items()
        }
    return found


def kind_of(field: Mapping[str, Any]) -> str:
    """A key's type in words."""
    if "anyOf" in field:
        return " or ".join(kind_of(one) for one in field["anyOf"] if one.get("type") != "null")
    if "enum" in field:
        return " or ".join(f'`"{one}"`' for one in field["enum"])
    if field["type"] == "array":
        return f"list of {field['items']['type']}s"
    kind, least, most = (
        field.get("format", field["type"]),
        field.get("minimum"),
        field.get("maximum"),
    )
    if most is not None:
        return f"{kind}, {least} to {most}"
    if least is not None:
        return f"{kind} ≥ {least}"
    return f"{kind} > {field['exclusiveMinimum']}" if "exclusiveMinimum" in field else kind


def default_of(field: Mapping[str, Any]) -> str:
    """A key's default as TOML in backticks."""
    if "default" not in field:
        return REQUIRED
    return "none" if field["default"] is None else f"`{toml(field['default'])}`"


def toml(value: Any) -> str:
    """A value as config.toml has it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def entry_keys(file: str) -> Iterator[tuple[str, str]]:
    """The keys of a model entry that the file names in comments, with their defaults."""
    for line in file.splitlines():
        if line.startswith("#   "):
            yield from re.findall(r'(\w+) = ("[^"]*"|\[.*?\]|\S+)', line)


def test_the_page_has_every_key_with_its_type_and_default():
    assert tables(PAGE.read_text(encoding="utf-8")) == sections_of(Config.model_json_schema())


def test_the_file_has_every_key_with_its_default():
    given = tomllib.loads(FILE.read_text(encoding="utf-8"))
    for name, section in sections_of(Config.model_json_schema()).items():
        if name not in LISTS:
            written = {key: f"`{toml(value)}`" for key, value in given[name].items()}
            assert written == {key: default for key, (_, default) in section.items()}


def test_the_file_has_every_key_of_a_model_entry():
    text = FILE.read_text(encoding="utf-8")
    shown = {key for entry in tomllib.loads(text)["models"] for key in entry}
    said = dict(entry_keys(text))
    fields = sections_of(Config.model_json_schema())["models"]
    assert shown | set(said) == set(fields)
    assert {key: f"`{value}`" for key, value in said.items()} == {
        key: fields[key][1] for key in said
    }


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ({"type": "integer", "minimum": 1}, "integer ≥ 1"),
        ({"type": "integer", "minimum": 0, "maximum": 9}, "integer, 0 to 9"),
        ({"type": "number", "exclusiveMinimum": 0}, "number > 0"),
        ({"type": "array", "items": {"type": "string"}}, "list of strings"),
        ({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}, "date-time"),
        ({"anyOf": [{"enum": ["a", "b"]}, {"type": "boolean"}]}, '`"a"` or `"b"` or boolean'),
    ],
)
def test_a_type_is_said_in_words(field, words):
    assert kind_of(field) == words


def test_a_table_is_read_from_its_section():
    head = "# Title\n## [one]\nWords.\n| key | type | default | meaning |\n|---|---|---|---|\n"
    page = head + "| `a` | string | `1` | x \\| y |\n## Two\nWords.\n"
    assert tables(page) == {"one": {"a": ("string", "`1`")}, "Two": {}}
