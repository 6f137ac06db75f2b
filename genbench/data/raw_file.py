"""A published file of a data set: where it is to be had, and its checksum."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from genbench.files import sha256

__all__ = ["RawFile"]


@dataclass(frozen=True, slots=True)
class RawFile:
    """A published file: its place in a mirror, the official addresses, and its published checksum.

    Attributes:
        folder: of a mirror.
        name: in that folder.
        urls: official addresses.
        algorithm: of the checksum.
        checksum: of the published file.
        elsewhere: other places in a mirror.
        unpacked: SHA-256 of what the archive holds, which a mirror may have in its place.
    """

    folder: str
    name: str
    urls: tuple[str, ...]
    algorithm: str
    checksum: str
    elsewhere: tuple[str, ...] = ()
    unpacked: str | None = None

    def holds(self, data: bytes) -> bool:
        """Whether ``data`` is the published file, or what is packed in it."""
        found = hashlib.new(self.algorithm, data, usedforsecurity=False).hexdigest()
        if found == self.checksum:
            return True
        return self.unpacked is not None and sha256(data) == self.unpacked
