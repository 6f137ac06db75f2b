"""DVC's books while another command of DVC is at work in the project."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from genbench.errors import UserError
from genbench.pipeline.record import Books
from tests.stand_ins import StandIns, make


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> StandIns:
    return make(tmp_path_factory.mktemp("record"), ("one",))


@pytest.fixture
def books(project: StandIns, monkeypatch: pytest.MonkeyPatch) -> Iterator[Books]:
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", project.env["DVC_SITE_CACHE_DIR"])
    monkeypatch.setattr("dvc.lock.DEFAULT_TIMEOUT", 0.06)
    with contextlib.closing(Books(project.params)) as books:
        yield books


@contextlib.contextmanager
def held(project: StandIns) -> Iterator[None]:
    """DVC's lock, as a long `dvc push` holds it."""
    from dvc.lock import Lock

    with Lock(str(Path(project.root, ".dvc", "tmp", "lock"))):
        yield


def test_what_cannot_be_noted_now_is_told_at_once(project: StandIns, books: Books) -> None:
    """So that a run goes on beside a long `dvc push`."""
    with held(project), pytest.raises(UserError, match="another command of DVC is at work"):
        books.note(["train@one"], patient=False)
    assert books.changed(["train@one"]) == ["train@one"]


def test_what_must_be_known_is_waited_for(
    project: StandIns, books: Books, capsys: pytest.CaptureFixture[str]
) -> None:
    with held(project):
        found: list[list[str]] = []
        waiting = threading.Thread(target=lambda: found.append(books.changed(["train@one"])))
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()
    waiting.join(10)
    assert found == [["train@one"]]
    assert capsys.readouterr().err.count("waiting for another command of DVC") == 1
