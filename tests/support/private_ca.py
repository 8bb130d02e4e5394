"""A private certificate authority, made with openssl: what it signs is trusted by its file only."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

NEW_KEY = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2".split()


@dataclass(frozen=True)
class Signed:
    """The files of a certificate and its key."""

    certificate: Path
    key: Path


class PrivateCa:
    """An authority with its files in a folder."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        made = self._make(name)
        self.certificate, self._key = made.certificate, made.key

    def sign(self, name: str, address: str = "IP:127.0.0.1") -> Signed:
        """A certificate for an address."""
        signer = ("-CA", str(self.certificate), "-CAkey", str(self._key))
        uses = ("-addext", f"subjectAltName={address}", "-addext", "basicConstraints=CA:FALSE")
        return self._make(name, *signer, *uses)

    def _make(self, name: str, *options: str) -> Signed:
        signed = Signed(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        files = (
            "-subj",
            f"/CN={name}",
            "-out",
            str(signed.certificate),
            "-keyout",
            str(signed.key),
        )
        subprocess.run([*NEW_KEY, *files, *options], check=True, capture_output=True)  # noqa: S603 - our own
        return signed
