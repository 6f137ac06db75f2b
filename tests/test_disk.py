"""A full disk, a read-only one, another user's files: each is told with what, where and how to
mend, and the next run goes on.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from genbench import disk
from genbench.cli.doctor_project import permission
from genbench.cli.main import app
from genbench.config.layout import Layout
from genbench.config.load import load_params
from genbench.config.params import Params
from genbench.disk import ExplainedError, check_writable, explain, explained, shortage, told
from genbench.errors import UserError
from genbench.files import read_json, read_npz, write_json, write_npz, write_text
from genbench.launchers.local import LocalLauncher
from genbench.pipeline import run, stage_runner
from genbench.pipeline.clean import clean
from genbench.pipeline.costs import read_costs
from genbench.pipeline.stage_runner import call_stage

KINDS = {
    errno.ENOSPC: "the disk is full; free some space (`genbench clean` removes checkpoints",
    errno.EDQUOT: "the disk is full, for your quota is used up; free some space",
    errno.EACCES: "no permission: ",
    errno.EPERM: "no permission: ",
    errno.EROFS: "the file system is read-only; mount it for writing, or work in a copy",
    errno.EFBIG: "the file would be larger than the system allows; raise the limit (`ulimit -f`)",
    errno.EIO: "the disk reports a fault",
    errno.EMFILE: "too many files are open; raise the limit (`ulimit -n`)",
    errno.ENOTDIR: "there is a file in place of a folder above it; move that away",
    errno.EISDIR: "there is a folder in place of the file; move it away",
    errno.ENOLCK: "its file system has no file locks",
    errno.ENOSYS: "its file system has no file locks",
    errno.EOPNOTSUPP: "its file system has no file locks",
    errno.ESTALE: "the network file system has lost it; run the command again",
    errno.ENAMETOOLONG: "the path is longer than its file system allows; move the project",
}


def failing(number: int, path: Path | None = None) -> Callable[..., Any]:
    """A function that fails as the system does."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), *([] if path is None else [str(path)]))

    return fail


@pytest.fixture
def root(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, and this process in it."""
    monkeypatch.chdir(project)
    for name in ("DVC_STAGE", "GENBENCH_DEBUG"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return project


def command(*arguments: str) -> tuple[int, str]:
    """Exit code and error text of a command."""
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stderr


# ---------------------------------------------------------------------- the words


@pytest.mark.parametrize(("number", "hint"), KINDS.items())
def test_every_kind_says_what_where_and_how_to_mend(tmp_path: Path, number: int, hint: str) -> None:
    path = tmp_path / "weights"
    with pytest.raises(OSError, match="cannot write") as caught, explained(path):
        failing(number)()
    text = str(caught.value)
    assert text.startswith(f"cannot write {path}: {hint}")
    assert text.endswith("Nothing was left half-written")
    assert caught.value.errno == number
    assert told(OSError(number, "text", str(path))).startswith(f"cannot use {path}: {hint}")
    assert hint.split(": ")[0] in told(OSError(number, "text")), (
        "of a file that the system does not name"
    )


def test_an_error_is_explained_once(tmp_path: Path) -> None:
    with (
        pytest.raises(ExplainedError) as caught,
        explained(tmp_path / "outer"),
        explained(tmp_path / "inner"),
    ):
        failing(errno.ENOSPC)()
    assert str(caught.value).count("cannot write") == 1
    assert "inner" in str(caught.value)
    assert explain(caught.value, tmp_path) is caught.value
    assert told(caught.value) == str(caught.value)


def test_the_file_that_the_system_names_is_the_one_that_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match=r"cannot write .*named: the disk is full"),
        explained(tmp_path / "folder"),
    ):
        failing(errno.ENOSPC, tmp_path / "named")()


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(errno.ECONNRESET, "reset"),
        FileNotFoundError(errno.ENOENT, "no", "x"),
        ValueError("v"),
    ],
)
def test_other_errors_stay_as_they_are(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)) as caught, explained(tmp_path):
        raise error
    assert caught.value is error
    assert told(error) == str(error)


def test_owner_mode_and_user_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o750)
    folder.chmod(0o750)
    names = {os.geteuid(): "bob", folder.stat().st_uid: "bob"}
    monkeypatch.setattr(disk.pwd, "getpwuid", lambda number: SimpleNamespace(pw_name=names[number]))
    error = explain(PermissionError(errno.EACCES, "denied"), folder / "new" / "file")
    assert f"no permission: {folder} belongs to bob, with mode 750, and this is bob" in str(error)
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    assert "this is user 4242" in str(explain(PermissionError(errno.EACCES, "denied"), folder))


# ---------------------------------------------------------------------- where it meets the program


def test_reading_another_users_file_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_json(tmp_path / "a.json", {})
    write_npz(tmp_path / "a.npz", {})
    monkeypatch.setattr(Path, "read_text", failing(errno.EACCES, tmp_path / "a.json"))
    monkeypatch.setattr(Path, "open", failing(errno.EACCES, tmp_path / "a.npz"))
    with pytest.raises(OSError, match=r"cannot read .*a\.json: no permission: it belongs to"):
        read_json(tmp_path / "a.json")
    with pytest.raises(OSError, match=r"cannot read .*a\.npz: no permission: it belongs to"):
        read_npz(tmp_path / "a.npz")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("where", ["mkdir", "open", "unlink"])
def test_no_command_ends_in_a_bare_error_number(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int, where: str
) -> None:
    """Wherever a stage meets the disk, its own check of the place or the command line's says what
    and where.
    """
    for path in ("mkdir", "open", "unlink"):
        if path == where:
            monkeypatch.setattr(Path, path, failing(number, root / "x"))
    code, text = command("prepare", "mnist")
    assert code == 1
    (line,) = text.splitlines()
    assert line.startswith("error: cannot ")
    assert f"{root / 'x'}: {KINDS[number]}" in line
    assert "[Errno" not in line


def test_the_reason_in_the_report_is_the_same(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.prepare.run", failing(errno.ENOSPC, root / "data" / "raw"))
    with pytest.raises(OSError, match="No space"):
        stage_runner.run_stage("quick", "prepare", "mnist")
    status = read_json(Layout.of(load_params("quick")).status("mnist", "prepare"))
    assert status["error"].startswith(f"cannot use {root / 'data' / 'raw'}: the disk is full")


def test_the_fingerprints_name_what_is_in_their_way(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    Layout.of(params).unfinished.write_text("a file in place of the folder")
    with pytest.raises(
        OSError,
        match=rf"cannot write {Layout.of(params).unfinished}: there is a file in place of a folder",
    ):
        call_stage("fingerprints", params)


def test_a_checkpoint_that_cannot_be_removed_is_in_no_others_way(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [root / ".ckpt" / f"quick-{name}-train-0123456789abcdef" for name in ("made", "vae")]
    for folder in folders:
        folder.mkdir(parents=True)
    rmtree = shutil.rmtree
    monkeypatch.setattr(
        shutil,
        "rmtree",
        lambda path: failing(errno.EACCES, path)() if path == folders[0] else rmtree(path),
    )
    clean(everything=True)
    printed = capsys.readouterr().out
    assert f"kept (cannot remove {folders[0]}: no permission" in printed
    assert f"removed: {folders[1].name}" in printed
    assert not folders[1].exists()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "/x"),
            "cannot tell what is unfinished: cannot use /x: the disk is full; free some",
        ),
        (UserError("dvc.lock cannot be read"), "dvc.lock cannot be read"),
    ],
)
def test_clean_removes_first_what_needs_no_room(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    said: str,
) -> None:
    """It is the remedy for a full disk, on which nothing can be written that tells what is
    unfinished.
    """

    def full(root: Path) -> list[str]:
        raise error

    names = [
        "quick-gone-train-aa",
        "quick-made-train-bb",
        "quick-made-train-cc",
        "quick-vae-sample-dd",
    ]
    for age, name in enumerate(names):
        write_json(root / ".ckpt" / name / "identity.json", {})
        for path in (root / ".ckpt" / name / "identity.json", root / ".ckpt" / name):
            os.utime(path, (1e9 - age, 1e9 - age))
    with monkeypatch.context() as patch:
        patch.setattr("genbench.pipeline.clean.mend", full)
        code, text = command("clean")
    assert code == 1
    assert text.startswith(f"error: {said}")
    assert isinstance(error, UserError) or text.endswith(
        "`genbench clean --all` removes all checkpoints\n"
    )
    assert {path.name for path in (root / ".ckpt").iterdir()} == {
        "quick-made-train-bb",
        "quick-vae-sample-dd",
    }
    monkeypatch.setattr("genbench.pipeline.clean._unfinished", lambda root: {"quick-made-train"})
    capsys.readouterr()
    clean()
    assert capsys.readouterr().out.splitlines()[-1] == "freed 0.0 MB, kept 0.0 MB"
    assert {path.name for path in (root / ".ckpt").iterdir()} == {"quick-made-train-bb"}


def test_costs_that_cannot_be_read_cost_an_estimate_alone(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(
        Layout.of(params).stage_costs, '{"stage": "prepare", "key": "mnist", "seconds": 1.5}\n'
    )
    with Layout.of(params).stage_costs.open("ab") as file:
        for line in (
            b'{"stage": "train"',
            b"\xff\xfe",
            b"[1]",
            b"3",
            b'{"stage": "train", "key": "made", "seconds": "many"}',
            b"[" * 100_000,
        ):
            file.write(line + b"\n")
        file.write(
            b'{"stage": 1, "key": "made", "seconds": 2}\n{"stage": "train", "key": "made", '
            b'"seconds": 2}\n'
        )
    assert [(line["stage"], line["seconds"]) for line in read_costs(params)] == [
        ("prepare", 1.5),
        ("train", 2),
    ]
    monkeypatch.setattr(Path, "read_text", failing(errno.EACCES, Layout.of(params).stage_costs))
    assert read_costs(params) == []


# ---------------------------------------------------------------------- before and after a run


class Full(io.BytesIO):
    """A file on a full disk, which is noticed when it is written and not when it is made."""

    def flush(self) -> None:
        failing(errno.ENOSPC)()

    def close(self) -> None:
        pass


def test_folders_are_tried_before_a_run_and_left_as_they_are(tmp_path: Path) -> None:
    check_writable([tmp_path, tmp_path / "not" / "yet"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_run_that_cannot_write_does_not_begin(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(run, "check_workspace", lambda root: None)
    monkeypatch.setattr(run, "repro", lambda *_, **__: pytest.fail("DVC was started"))
    monkeypatch.setattr(
        tempfile, "TemporaryFile", failing(number) if number != errno.ENOSPC else lambda **_: Full()
    )
    code, text = command("run")
    assert code == 1
    assert text.startswith(f"error: cannot write in {root / '.dvc' / 'tmp'}: {KINDS[number]}")


def test_doctor_tries_to_write(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [(check.level, check.what) for check in permission(params)] == [("ok", "permission")]
    temporary = tempfile.TemporaryFile

    def some(dir: Path) -> Any:
        return (
            failing(errno.EACCES)() if Path(dir) == Layout.of(params).runs else temporary(dir=dir)
        )

    monkeypatch.setattr(tempfile, "TemporaryFile", some)
    (check,) = permission(params)
    assert (check.level, check.what) == ("fail", "permission")
    assert check.found.startswith(
        f"cannot write in {Layout.of(params).runs}: no permission: it belongs to"
    )


@pytest.mark.parametrize(("free", "said"), [(10 * 2**20, True), (10 * 2**30, False)])
def test_a_failed_run_says_so_if_the_disk_is_nearly_full(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    free: int,
    said: bool,
) -> None:
    """DVC's own words for it are a bare error number."""
    raw = yaml.safe_load((root / "params.yaml").read_text())
    raw["entries"] = {"pixel_marginals": raw["entries"]["pixel_marginals"]}
    (root / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    monkeypatch.setattr(run, "check_workspace", lambda root: None)
    monkeypatch.setattr(run, "_forecast", lambda *_: None)
    monkeypatch.setattr(run, "_shared", lambda *_, **__: 255)
    monkeypatch.setattr(run, "_with_data", lambda params, names, shared: names)
    monkeypatch.setattr(run, "run_entries", lambda *_, **__: [])
    monkeypatch.setattr(run, "_last", lambda *_, **__: 0)
    launcher = LocalLauncher(1)
    assert run.run_pipeline("quick", launcher=lambda params: launcher) == 255
    text = f"error: only 10 MiB are free on the disk of {root}, which may be why: free some space"
    assert (text in capsys.readouterr().err) is said
    assert (shortage(root) is not None) is said


def test_an_unwritable_folder_is_a_mistake_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", failing(errno.EROFS))
    with pytest.raises(
        UserError, match=rf"cannot write in {tmp_path}: the file system is read-only"
    ):
        check_writable([tmp_path])
