"""Reads the report's page as a reader does: its tables by row and column head, its summary, its
pictures.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

__all__ = ["Cell", "Table", "leaderboard_of", "section_of", "summary_of", "tables_of"]

_VOID = frozenset(("meta", "link", "img", "br", "use", "path", "col"))


@dataclass(slots=True)
class Cell:
    """One cell: its own attributes, titles of what is in it, and its texts by the class (or tag) of
    the element around them.
    """

    attributes: dict[str, str]
    titles: list[str] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)

    def text(self, kind: str) -> str:
        """The texts of one class of elements, joined."""
        return " ".join(text for name, text in self.texts if name == kind)

    @property
    def value(self) -> float | None:
        """What a column is sorted by."""
        return float(self.attributes["data-v"]) if "data-v" in self.attributes else None

    @property
    def best(self) -> bool:
        """Whether it is marked as the best of its column."""
        return "best" in self.attributes.get("class", "").split()


class _Reader(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[Cell]]] = []
        self.open: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append(Cell(given))
        elif self.inside and "title" in given:
            self.tables[-1][-1][-1].titles.append(given["title"])
        if tag not in _VOID:
            self.open.append((tag, given.get("class", "")))

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID and self.open:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.inside and data.strip():
            tag, kind = self.open[-1]
            self.tables[-1][-1][-1].texts.append((kind or tag, " ".join(data.split())))

    @property
    def inside(self) -> bool:
        return any(tag in ("td", "th") for tag, _ in self.open)


Table = dict[str, dict[str, Cell]]
"""Entry -> head of a column -> cell."""


def section_of(page: str, name: str) -> str:
    """The HTML of a section of the page by its id."""
    return page.split(f'<section id="{name}">')[1].split("</section>")[0]


def tables_of(text: str) -> list[list[list[Cell]]]:
    """The rows of all tables of a piece of HTML."""
    return _Reader(text).tables


def leaderboard_of(page: str, dataset: str) -> tuple[dict[str, Cell], Table]:
    """The head cells by their text, and the table, of a data set's leaderboard."""
    heads, *rows = tables_of(section_of(page, f"board-{dataset}"))[0]
    names = [head.text("button") for head in heads]
    entries = [row for row in rows if row[0].text("entry")]
    table = {row[0].text("entry"): dict(zip(names, row, strict=True)) for row in entries}
    assert len(table) == len(entries)
    return dict(zip(names, heads, strict=True)), table


def summary_of(page: str) -> dict[str, dict[str, tuple[str, str]]]:
    """Data set -> label -> (what is said, of which entry) of the cards on top."""
    cards = re.findall(
        r'<h3>(\w+)</h3>\s*<dl class="facts">(.*?)</dl>',
        section_of(page, "summary"),
        flags=re.DOTALL,
    )
    facts = r"<dt>(.*?)</dt><dd>(.*?)<small>(.*?)</small></dd>"
    return {
        name: {label: (said, of) for label, said, of in re.findall(facts, body, flags=re.DOTALL)}
        for name, body in cards
    }
