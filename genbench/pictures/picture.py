"""A finished picture, as the stage ``pictures`` writes it and report and tracking show it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LIST", "Picture"]

LIST = "pictures.json"
"""The file that lists the others of a folder of pictures."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture, and what a reader is told of it.

    Attributes:
        file: name of its file, which ends in ``.png`` or ``.gif``.
        kind: what kind of picture it is.
        title, caption: what stands beside it.
        data: content of the file.
    """

    file: str
    kind: str
    title: str
    caption: str
    data: bytes

    @property
    def listed(self) -> dict[str, str]:
        """What :data:`LIST` says of it."""
        return {
            "file": self.file,
            "kind": self.kind,
            "title": self.title,
            "caption": self.caption,
        }
