"""The command line: speed of its start, errors, exit codes, and what `genbench run` asks of DVC
(with stages that are shell commands).
"""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import numpy as np
import psutil
import pytest
import typer
import yaml
from typer.testing import CliRunner

import genbench.models
from genbench.cli.call import call as call_
from genbench.cli.main import app
from genbench.config.params import load_params
from genbench.errors import UserError
from genbench.files import write_bytes, write_json
from genbench.pipeline import clean, run
from genbench.pipeline.fingerprints import Sources, entry_fingerprint
from genbench.pipeline.validate import check_params

BLOCK = {
    "model": "train_copy",
    "dataset": "mnist",
    "seed": 0,
    "arch": {},
    "train": {},
    "sample": {},
    "score": {},
}
PARAMS = {
    "root": ".",
    "profile": "quick",
    "params_file": "params.yaml",
    "datasets": ["mnist", "binary_mnist"],
    "metrics": ["fid"],
    "protocol": {
        "samples": 64,
        "sample_chunk": 64,
        "likelihood_images": 64,
        "likelihood_images_many_passes": 16,
        "many_passes": 10,
        "likelihood_images_very_many_passes": 16,
        "very_many_passes": 200,
        "feature_reference_images": 64,
    },
    "compute": {"device": "cpu", "threads": 1},
    "entries": {name: dict(BLOCK) for name in ("made", "pixel_cnn", "pixel_marginals", "vae")},
}

# Stages that leave a file, or fail if the file `broken` holds their name.
PIPELINE = """\
stages:
  train:
    foreach: ${entries}
    do:
      wdir: ${root}
      cmd: >-
        echo train ${key} >> log; cat pause 2> /dev/null && sleep 60;
        test "$(cat broken)" != ${key} && mkdir -p runs/${profile}/${key} && echo 1 > runs/${profile}/${key}/weights
      params: [{"${params_file}": ["entries.${key}.seed"]}]
      outs: ["runs/${profile}/${key}/weights"]
  visuals:
    foreach: ${entries}
    do:
      wdir: ${root}
      cmd: echo visuals ${key} >> log; echo $GENBENCH_DEVICE $GENBENCH_THREADS $GENBENCH_FRESH > runs/${profile}/${key}/visuals
      deps: ["runs/${profile}/${key}/weights"]
      outs: ["runs/${profile}/${key}/visuals"]
  score_likelihood:
    foreach: ${entries}
    do:
      wdir: ${root}
      cmd: echo likelihood ${key} >> log; echo 1 > runs/${profile}/${key}/nats
      deps: ["runs/${profile}/${key}/weights"]
      outs: ["runs/${profile}/${key}/nats"]
  score_samples:
    foreach: ${entries}
    do:
      wdir: ${root}
      cmd: echo samples ${key} >> log; echo 1 > runs/${profile}/${key}/quality
      deps: ["runs/${profile}/${key}/weights"]
      outs: ["runs/${profile}/${key}/quality"]
  report:
    wdir: ${root}
    cmd: >-
      echo report >> log; mkdir -p reports/${profile};
      cp board reports/${profile}/leaderboard.json; echo page > reports/${profile}/index.html
    deps: ["runs/${profile}"]
    outs: [{"reports/${profile}": {cache: false}}]
  track:
    wdir: ${root}
    cmd: echo track >> log; mkdir -p .track; echo 1 > .track/${profile}.json
    deps: ["reports/${profile}"]
    outs: [{".track/${profile}.json": {cache: false}}]
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose stages are shell commands, without DVC."""
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(PARAMS, sort_keys=False))
    smoke = tmp_path / "profiles" / "smoke"
    smoke.mkdir(parents=True)
    (smoke / "params.yaml").write_text(
        yaml.safe_dump(
            {
                **PARAMS,
                "root": "../..",
                "profile": "smoke",
                "params_file": "profiles/smoke/params.yaml",
            },
            sort_keys=False,
        )
    )
    (smoke / "dvc.yaml").symlink_to("../../dvc.yaml")
    (tmp_path / "broken").write_text("none")
    (tmp_path / "board").write_text(json.dumps({"missing": []}))
    (tmp_path / ".gitignore").write_text("/runs/\n/.track/\n/log\n")
    monkeypatch.chdir(tmp_path)
    for name in ("DVC_STAGE", "DVC_ROOT", "GENBENCH_DEVICE", "GENBENCH_THREADS", "GENBENCH_DEBUG"):
        monkeypatch.setenv(name, "")  # so that what a command sets is undone after the test
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def repository(root: Path) -> Path:
    """The same under git and DVC."""
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], cwd=root, check=True)
    with (root / ".dvc" / "config").open("a") as config:
        config.write("[core]\n    analytics = false\n    check_update = false\n")
    return root


def call(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def log(root: Path) -> list[str]:
    return (root / "log").read_text().splitlines() if (root / "log").exists() else []


# ---------------------------------------------------------------------- start


@pytest.mark.parametrize(
    ("option", "said"),
    [("--help", "new-model"), ("--version", f"genbench {genbench.__version__}\n")],
)
def test_help_and_version_import_nothing_heavy(option: str, said: str) -> None:
    program = """
import sys
from genbench.cli.main import main
sys.argv = ["genbench", *sys.argv[1:]]
try:
    main()
except SystemExit as stop:
    assert not stop.code
print(*(set(sys.modules) & {"torch", "numpy", "yaml", "dvc", "mlflow", "pandas", "rich", "genbench.config.params"}), sep=",")
"""
    done = subprocess.run(
        [sys.executable, "-c", program, option], capture_output=True, text=True, check=True
    )
    assert said in done.stdout
    assert done.stdout.splitlines()[-1] == ""


def test_what_the_locale_cannot_print_is_no_error() -> None:
    program = (
        "from genbench.cli import main as m; m.app = lambda prog_name: print('3 \\u00b1 1'); "
        "m.main()"
    )
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | locale,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("3 \\xb1 1\n", "")


def test_every_command_explains_itself_in_a_line() -> None:
    code, text, _ = call("--help")
    assert code == 0
    for command in app.registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__
        summary = (command.callback.__doc__ or "").splitlines()[0]
        assert summary.endswith(".")
        assert (f"  {name} " in text) is not command.hidden
        assert command.hidden or summary in text, (
            f"{name}: the summary is cut off in the list of commands"
        )
        assert call(name, "--help")[0] == 0


@pytest.mark.parametrize(
    "verb",
    [
        "code",
        "prepare",
        "features",
        "train",
        "sample",
        "visuals",
        "score-likelihood",
        "score-samples",
        "report",
        "track",
    ],
)
def test_the_verbs_of_the_pipeline_exist(verb: str) -> None:
    assert verb in {
        command.name or command.callback.__name__
        for command in app.registered_commands
        if command.callback
    }


def test_the_pipeline_calls_only_verbs_that_exist() -> None:
    stages = yaml.safe_load((Path(__file__).parents[1] / "dvc.yaml").read_text())["stages"]
    for name, definition in stages.items():
        words = (
            definition.get("do", definition)["cmd"]
            .replace("${profile}", "smoke")
            .replace("${item}", "mnist")
            .replace("${key}", "made")
            .split()
        )
        assert words[0] == "genbench"
        assert words[1] == name.replace("_", "-")
        assert call(words[1], "--help", *words[2:])[0] == 0


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("train", "mode"), ("'mode' is no entry of profile 'quick'", "did you mean 'made'")),
        (("train", "made", "--profile", "smok"), ("'smok' is no profile", "did you mean 'smoke'")),
        (("prepare", "mnst"), ("'mnst' is no data set", "did you mean 'mnist'")),
        (("run", "--entries", "vea"), ("'vea' matches no entry", "did you mean 'vae'")),
        (("run", "--entries", ","), ("--entries",)),
        (("run",), (".dvc/config",)),
        (("info", "mode"), ("did you mean 'made'",)),
        (("sample", "made", "--png", "x.jpg"), ("x.jpg", ".png")),
        (("animate", "made", "--out", "x.png"), ("x.png", ".gif")),
        (("report", "--profile", "large"), ("'large' is no profile",)),
        (("seeds", "1"), ("at least 2",)),
        (("new-model", "class"), ("cannot be a model's name",)),
        (("train", "made", "--device", "tpu"), ("compute.device", "'tpu'")),
    ],
)
def test_bad_input_is_one_line_and_exit_code_1(
    root: Path, arguments: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    before = sorted(root.rglob("*"))
    code, _, stderr = call(*arguments)
    assert code == 1
    assert stderr.startswith("error: ")
    assert "Traceback" not in stderr
    assert all(part in stderr for part in parts), stderr
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("sample", "made", "--labels", "1"),
        ("sample", "made", "--n", "64"),
        ("sample", "made", "--seed", "0"),
        ("features", "binary_mnist", "--retrain"),
        ("score", "made", "--inception-weights", "x"),
        ("train", "made", "--threads", "0"),
        ("train", "made", "--threads", "1025"),
        ("fly",),
    ],
)
def test_options_that_make_no_sense_are_usage_errors(
    root: Path, arguments: tuple[str, ...]
) -> None:
    assert call(*arguments)[0] == 2


def test_outside_a_project_the_error_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, stderr = call("train", "made")
    assert code == 1
    assert "not inside a genbench project" in stderr


def module_with(monkeypatch: pytest.MonkeyPatch, function: Callable[[], object]) -> str:
    monkeypatch.setattr(run, "probe", function, raising=False)
    return "genbench.pipeline.run:probe"


@pytest.mark.parametrize(
    "error",
    [ValueError("v"), UserError("u"), OSError("o"), FloatingPointError("nan"), RuntimeError("r")],
)
def test_expected_errors_are_told_without_a_traceback(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    name = module_with(monkeypatch, fail)
    monkeypatch.delenv("GENBENCH_DEBUG", raising=False)
    with pytest.raises(typer.Exit) as stop:
        call_(name)
    assert stop.value.exit_code == 1
    assert capsys.readouterr().err == f"error: {error}\n"
    monkeypatch.setenv("GENBENCH_DEBUG", "1")
    with pytest.raises(type(error)):
        call_(name)


def test_unexpected_errors_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise KeyError("a mistake in genbench")

    with pytest.raises(KeyError):
        call_(module_with(monkeypatch, fail))


def test_ctrl_c_is_exit_code_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    for resumes in (False, True):
        with pytest.raises(typer.Exit) as exit_:
            call_(module_with(monkeypatch, stop), resumes=resumes)
        assert exit_.value.exit_code == 130
        assert ("goes on from the last checkpoint" in capsys.readouterr().err) is resumes


def test_a_number_is_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(typer.Exit) as exit_:
        call_(module_with(monkeypatch, lambda: 7))
    assert exit_.value.exit_code == 7
    assert call_(module_with(monkeypatch, lambda: 0)) == 0


# -------------------------------------------------------------------- stages and their status files


@pytest.fixture
def calls(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Replaces the stages `code` and `train`; `train` raises what stands under `error`."""
    seen: list[object] = []

    def train(params: object, entry: str) -> None:
        seen.append(
            ("train", entry, os.environ.get("GENBENCH_DEVICE"), os.environ.get("GENBENCH_THREADS"))
        )
        for wanted in seen:
            if isinstance(wanted, BaseException):
                raise wanted

    monkeypatch.setattr(
        importlib.import_module("pipelines.code"), "run", lambda params: seen.append("code")
    )
    monkeypatch.setattr(importlib.import_module("pipelines.train"), "run", train)
    return seen


def test_a_failing_stage_leaves_its_error_and_a_success_removes_it(
    root: Path, calls: list[object]
) -> None:
    calls.append(FloatingPointError("made/loss: the loss is nan at step 7"))
    assert call("train", "made", "--profile", "smoke")[0] == 1
    path = root / ".status" / "smoke" / "made-train.json"
    status = json.loads(path.read_text())
    assert set(status) == {"stage", "entry", "error", "type", "time", "log"}
    assert (status["stage"], status["entry"], status["type"]) == (
        "train",
        "made",
        "FloatingPointError",
    )
    assert status["error"] == "made/loss: the loss is nan at step 7"
    assert "Traceback" in status["log"]
    assert datetime.fromisoformat(status["time"]).tzinfo is not None
    calls.clear()
    assert call("train", "made", "--profile", "smoke")[0] == 0
    assert not path.exists()


def test_an_interrupted_stage_has_not_failed(root: Path, calls: list[object]) -> None:
    calls.append(ValueError("no good"))
    assert call("train", "made")[0] == 1
    path = root / ".status" / "quick" / "made-train.json"
    assert path.is_file()
    calls[:] = [KeyboardInterrupt()]
    assert call("train", "made")[0] == 130
    assert not path.exists(), "the report would give the reason of an earlier failure"


def test_a_stage_refuses_sources_other_than_those_of_its_fingerprint(
    root: Path, calls: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_STAGE", "train@made")
    entry = load_params().entry("made")
    written = asdict(entry_fingerprint(Sources(), "train", entry, ()))
    path = root / "runs" / "quick" / "code" / "made" / "train.json"
    write_json(path, written)
    assert call("train", "made")[0] == 0
    write_json(
        path, {**written, "hash": "0", "files": {**written["files"], "genbench/base.py": "0"}}
    )
    calls.clear()
    code, _, stderr = call("train", "made")
    assert code == 1
    assert "sources changed since this run began (genbench/base.py)" in stderr
    assert calls == []
    assert (
        "sources changed"
        in json.loads((root / ".status" / "quick" / "made-train.json").read_text())["error"]
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("profile: quick", "profile: smoke", "profile: must be 'quick' in this place, got 'smoke'"),
        ("root: .", "root: ..", "root: must be '.' in this place"),
        (
            "params_file: params.yaml",
            "params_file: other.yaml",
            "params_file: must be 'params.yaml' in this place",
        ),
        ("metrics:", "metric:", "metric: unknown parameter; did you mean 'metrics'"),
        ("seed: 0", "sed: 0", "entries.made.sed: unknown parameter; did you mean 'seed'"),
        ("seed: 0", "{}", "entries.made: missing the key 'seed'"),
    ],
)
def test_mistakes_in_params_are_named(root: Path, old: str, new: str, message: str) -> None:
    path = root / "params.yaml"
    text = path.read_text()
    path.write_text(
        text.replace(f"    {old}\n", "", 1) if new == "{}" else text.replace(old, new, 1)
    )
    with pytest.raises(UserError) as error:
        load_params()
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"backend": {"tpu": {}}}, "entries.made.train.backend.tpu: unknown device type"),
        (
            {"backend": {"cpu": {"precision": "float8"}}},
            "entries.made.train.backend.cpu.precision: unknown 'float8'",
        ),
        ({"ema": 1.0}, "entries.made.train.ema: must be in [0, 1), got 1.0"),
        ({"validations": 0}, "entries.made.train.validations: must be at least 1, got 0"),
    ],
)
def test_bad_training_options_are_found_before_a_run(
    root: Path, train: dict[str, object], message: str
) -> None:
    edit_params(
        root,
        "made",
        model="made",
        arch={"hidden": [8], "head": "categorical"},
        train={"steps": 1, "optim": {"loss": {"lr": 0.1}}, **train},
    )
    with pytest.raises(UserError) as error:
        check_params(load_params())
    assert message in str(error.value)


def test_a_broken_model_is_named_and_the_others_go_on(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit_params(repository, "vae", model="broken")
    monkeypatch.setattr("genbench.registry._MODELS", repository / "models")
    (repository / "models").mkdir()
    (repository / "models" / "broken.py").write_text("import nothing_of_the_kind\n")
    shutil.copy(Path(genbench.models.__file__).parent / "train_copy.py", repository / "models")
    monkeypatch.setattr("genbench.models.__path__", [str(repository / "models")])
    code, stdout, stderr = call("run", "--entries", "vae,made")
    assert code == 1
    assert (
        "quick: what there is to do is not known" in stdout
    )  # the sources of this model are not where fingerprints look
    assert "/models/broken.py:1: No module named 'nothing_of_the_kind' (model 'broken')" in stderr
    assert "samples made" in log(repository)


def test_outside_dvc_the_fingerprints_are_written_first(
    root: Path, calls: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    call("train", "made")
    assert [c if isinstance(c, str) else c[0] for c in calls] == ["code", "train"]  # type: ignore[index]
    calls.clear()
    monkeypatch.setenv("DVC_STAGE", "train@made")
    call("train", "made")
    assert [c if isinstance(c, str) else c[0] for c in calls] == ["train"]  # type: ignore[index]


def test_device_and_threads_reach_the_stage(root: Path, calls: list[object]) -> None:
    assert call("train", "vae", "--device", "cpu", "--threads", "3")[0] == 0
    assert calls[-1] == ("train", "vae", "cpu", "3")
    assert load_params().compute.threads == 3


# ---------------------------------------------------------------------- genbench run


def test_entries_are_matched_by_wildcard_in_the_order_of_the_file(root: Path) -> None:
    params = load_params()
    assert run.match_entries(params, None) == ["made", "pixel_cnn", "pixel_marginals", "vae"]
    assert run.match_entries(params, "vae, pixel*") == ["pixel_cnn", "pixel_marginals", "vae"]
    with pytest.raises(UserError, match="matches no entry"):
        run.match_entries(params, "vae,flow*")


def test_targets_of_dvc(root: Path) -> None:
    quick, smoke = load_params("quick"), load_params("smoke")
    assert run.pipeline_targets(quick, None) == ["dvc.yaml"]
    assert run.pipeline_targets(smoke, None) == ["profiles/smoke/dvc.yaml"]
    assert run.pipeline_targets(quick, ["vae"]) == [
        "visuals@vae",
        "score_likelihood@vae",
        "score_samples@vae",
    ]
    assert run.pipeline_targets(smoke, ["vae"])[0] == "profiles/smoke/dvc.yaml:visuals@vae"


def test_a_run_finishes_the_others_and_reports_when_one_fails(repository: Path) -> None:
    (repository / "broken").write_text("vae")
    (repository / "board").write_text(
        json.dumps({"missing": [{"dataset": "mnist", "entry": "vae", "reason": "train: no good"}]})
    )
    command = [
        sys.executable,
        "-m",
        "genbench",
        "run",
        "--profile",
        "smoke",
        "--device",
        "cpu",
        "--threads",
        "5",
    ]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode not in (0, 1), done.stderr  # DVC's own code
    assert "vae: train: no good" in done.stderr
    lines = log(repository)
    assert {"train vae", "samples made", "likelihood pixel_cnn", "visuals pixel_marginals"} <= set(
        lines
    )
    assert "samples vae" not in lines
    assert lines[-2:] == ["report", "track"]
    assert (repository / "runs" / "smoke" / "made" / "visuals").read_text() == "cpu 5\n"

    (repository / "broken").write_text("none")
    (repository / "board").write_text(json.dumps({"missing": []}))
    (repository / "log").unlink()
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(log(repository)) == [
        "likelihood vae",
        "report",
        "samples vae",
        "track",
        "train vae",
        "visuals vae",
    ]
    assert "missing" not in done.stderr
    assert "reports/smoke/index.html" in done.stdout


def test_a_run_of_some_entries_runs_only_these(repository: Path) -> None:
    command = [sys.executable, "-m", "genbench", "run", "--entries", "pixel_c*"]
    subprocess.run(command, cwd=repository, capture_output=True, check=True)
    once = log(repository)
    assert sorted(once[:-2]) == [
        "likelihood pixel_cnn",
        "samples pixel_cnn",
        "train pixel_cnn",
        "visuals pixel_cnn",
    ]
    assert once[-2:] == ["report", "track"]
    assert (repository / "runs" / "quick" / "pixel_cnn" / "visuals").read_text().strip() == ""
    subprocess.run([*command, "--force"], cwd=repository, capture_output=True, check=True)
    again = log(repository)[len(once) :]
    assert (repository / "runs" / "quick" / "pixel_cnn" / "visuals").read_text().strip() == "1", (
        "checkpoints would be resumed"
    )
    assert "train pixel_cnn" in again
    assert all(line.endswith("pixel_cnn") or line in ("report", "track") for line in again)


def test_forced_work_starts_from_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = importlib.import_module("genbench.training.checkpoints").workspace
    with workspace(tmp_path, "made", {"a": 1}) as work:
        work.save("train.pt", {"step": 5})
        assert work.chunk("0", lambda: {"x": np.zeros(1)})["x"] == 0
    with workspace(tmp_path, "made", {"a": 1}) as work:
        assert work.load("train.pt") == {"step": 5}
        assert work.chunk("0", lambda: {"x": np.ones(1)})["x"] == 0
    monkeypatch.setenv("GENBENCH_FRESH", "1")
    with workspace(tmp_path, "made", {"a": 1}) as work:
        assert work.load("train.pt") is None
        assert work.chunk("0", lambda: {"x": np.ones(1)})["x"] == 1
        assert (work.folder / "lock").is_file()


def test_ctrl_c_stops_the_whole_run(repository: Path) -> None:
    (repository / "pause").write_text("")
    command = [sys.executable, "-m", "genbench", "run"]
    process = subprocess.Popen(
        command,
        cwd=repository,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        while not log(repository):
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        output, _ = process.communicate(
            timeout=50
        )  # ends when nobody holds the pipe any more; a stage sleeps for 60 seconds
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert "goes on from the last checkpoint" in output
    assert len(log(repository)) <= 2, "with --keep-going DVC went on with further stages"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere DVC goes on with the stages")
def test_a_killed_run_takes_dvc_along_and_the_next_one_works(repository: Path) -> None:
    (repository / "pause").write_text("")
    command = [sys.executable, "-m", "genbench", "run", "--entries", "made"]
    process = subprocess.Popen(
        command, cwd=repository, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not log(repository):
        assert process.poll() is None
        time.sleep(0.05)
    below = {child: child.name() for child in psutil.Process(process.pid).children(recursive=True)}
    (dvc,) = [child for child in psutil.Process(process.pid).children() if "dvc" in child.cmdline()]
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and dvc.is_running() and dvc.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.05)
    assert not dvc.is_running() or dvc.status() == psutil.STATUS_ZOMBIE
    for child, name in below.items():  # the stand-in's stage is no stage of ours and watches nobody
        if name in ("sh", "sleep") and child.is_running():
            child.kill()
    (repository / "pause").unlink()
    assert subprocess.run(command, cwd=repository, capture_output=True, check=False).returncode == 0
    assert log(repository)[-1] == "track"


def test_two_runs_at_once_do_their_work_one_after_the_other(repository: Path) -> None:
    (repository / "pause").write_text("")
    command = [sys.executable, "-m", "genbench", "run"]
    with (
        subprocess.Popen(
            [*command, "--entries", "made"], cwd=repository, stderr=subprocess.PIPE, text=True
        ) as first,
        subprocess.Popen(
            [*command, "--profile", "smoke", "--entries", "vae"],
            cwd=repository,
            stderr=subprocess.PIPE,
            text=True,
        ) as second,
    ):
        runs = {"quick": first, "smoke": second}
        while not log(repository):
            assert first.poll() is second.poll() is None
            time.sleep(0.05)
        now = json.loads((repository / ".status" / "run.lock").read_text())
        profile = "quick" if now["pid"] == first.pid else "smoke"
        earlier, later = runs.pop(profile), *runs.values()
        assert later.stderr is not None
        expected = (
            f": waiting for genbench run --profile {profile} (process {earlier.pid} on "
            f"{now['host']}, since {now['since']}) to end"
        )
        assert later.stderr.readline().endswith(expected + "\n")
        assert len(log(repository)) == 1, "the second one did not wait"
        (repository / "pause").unlink()
        for process in psutil.Process(earlier.pid).children(recursive=True):
            if process.name() == "sleep":
                process.kill()
        assert (earlier.wait(120), later.wait(120)) == (0, 0)
    lines = log(repository)
    assert lines.index("report") < lines.index(f"train {'vae' if profile == 'quick' else 'made'}")


def test_a_run_mends_what_a_kill_left_of_dvcs_files_and_says_so(repository: Path) -> None:
    command = [sys.executable, "-m", "genbench", "run", "--entries", "made"]
    assert subprocess.run(command, cwd=repository, capture_output=True, check=False).returncode == 0
    path, rwlock = repository / "dvc.lock", repository / ".dvc" / "tmp" / "rwlock"
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"md5: ", len(whole) // 2) + 3])
    smoke = repository / "profiles" / "smoke" / "dvc.lock"
    smoke.write_bytes(whole)
    subprocess.run(["git", "add", smoke], cwd=repository, check=True)
    smoke.write_bytes(b"")
    rwlock.write_text('{"wri')
    (repository / "log").unlink()
    code, stdout, _ = call("doctor", "--profile", "smoke")
    assert code == 1
    assert len([line for line in stdout.splitlines() if line.startswith("fail  dvc files")]) == 3
    again = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "dvc.lock was cut short by a kill; its last copy is in its place" in again.stderr
    assert (
        "smoke/dvc.lock was cut short by a kill; what git has of it is in its place" in again.stderr
    )
    assert smoke.read_bytes() == whole
    assert "rwlock was cut short by a kill, and is removed" in again.stderr
    assert set(log(repository)) <= {"report", "track"}
    assert path.read_bytes() == whole

    path.write_bytes(b"<<<<<<< HEAD\n" + whole)
    refused = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"error: {path} holds the marks of a merge conflict")


# ---------------------------------------------------------------------- genbench clean


def checkpoint(root: Path, name: str, age: float) -> Path:
    folder = root / ".ckpt" / name
    folder.mkdir(parents=True)
    (folder / "state").write_bytes(b"x" * 998)
    (folder / "identity.json").write_text("{}")
    for path in (folder / "state", folder / "identity.json", folder):
        os.utime(path, (time.time() - age, time.time() - age))
    return folder


def test_checkpoints_are_kept_for_unfinished_stages_alone(root: Path) -> None:
    names = [
        "quick-made-train-aa",
        "quick-made-train-bb",
        "quick-vae-train-cc",
        "quick-gone-train-dd",
        "smoke-made-train-ee",
        "quick-made-sample-ff",
    ]
    for age, name in enumerate(names):
        checkpoint(root, name, age)
    loaded = [load_params("quick"), load_params("smoke")]
    unfinished = {"quick-made-train", "quick-gone-train", "smoke-made-train"}
    found = clean.leftovers(root / ".ckpt", loaded, unfinished)
    assert {leftover.path.name: leftover.kept for leftover in found} == {
        "quick-made-train-aa": "unfinished",  # the newest
        "quick-made-train-bb": None,
        "quick-vae-train-cc": None,  # up to date
        "quick-gone-train-dd": None,  # no entry
        "smoke-made-train-ee": "unfinished",
        "quick-made-sample-ff": None,
    }
    assert all(leftover.size == 1000 for leftover in found)


def test_the_newest_checkpoint_of_each_kind_of_processor_is_kept(root: Path) -> None:
    """A project that two kinds of machines work in by turns: each goes on with its own."""
    for age, (name, kind) in enumerate(
        {"aa": "AVX2", "bb": "AVX512", "cc": "AVX2", "dd": None}.items()
    ):
        folder = checkpoint(root, f"quick-made-train-{name}", age)
        if kind:
            (folder / "identity.json").write_text(
                json.dumps({"kind": {"isa": kind}, "threads": 2, "arch": name})
            )
            for path in (folder / "identity.json", folder):
                os.utime(path, (time.time() - age, time.time() - age))
        else:  # of a version that kept no identity: nothing goes on from it
            (folder / "identity.json").unlink()
    found = clean.leftovers(root / ".ckpt", [load_params("quick")], {"quick-made-train"})
    assert {leftover.path.name[-2:]: leftover.kept for leftover in found} == {
        "aa": "unfinished",
        "bb": "unfinished",
        "cc": None,
        "dd": None,
    }


def test_clean_works_after_a_kill_that_hit_dvc_while_it_wrote(repository: Path) -> None:
    stale = checkpoint(repository, "quick-gone-train-aa", 5)
    unfinished = checkpoint(repository, "quick-made-train-bb", 5)
    (repository / "dvc.lock").write_bytes(b"schema: '2.0'\nsta")
    code, _, stderr = call("clean")
    assert code == 1
    assert (
        "dvc.lock was cut short by a kill, and there is neither a copy of it nor one in git that "
        "is whole" in stderr
    )
    assert not stale.exists()
    write_bytes(repository / ".status" / "quick" / "dvc.lock.copy", b"schema: '2.0'\nstages: {}\n")
    code, _, stderr = call("clean")
    assert code == 0, stderr
    assert "dvc.lock was cut short by a kill; its last copy is in its place" in stderr
    assert unfinished.exists()


def test_clean_removes_and_counts_and_never_what_is_in_use(repository: Path) -> None:
    stale, used = (
        checkpoint(repository, "quick-gone-train-aa", 5),
        checkpoint(repository, "quick-made-train-bb", 5),
    )
    unfinished = checkpoint(repository, "quick-vae-train-cc", 5)
    with (used / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, stdout, stderr = call("clean")
        assert code == 0, stderr
        assert not stale.exists()
        assert unfinished.exists()
        assert "freed 0.0 MB" in stdout
        assert call("clean", "--all")[0] == 0
        assert not unfinished.exists()
        assert used.exists()


# ---------------------------------------------------------------------- genbench doctor, pictures


def edit_params(root: Path, entry: str, **blocks: object) -> None:
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["entries"][entry].update(blocks)
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))


def test_doctor_names_what_is_wrong_and_how_to_mend(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENBENCH_MIRROR", str(root / "nowhere"))
    edit_params(root, "made", model="made", arch={"hiden": [8]})
    code, stdout, _ = call("doctor")
    lines = stdout.splitlines()
    assert code == 1
    failed = {
        line.split()[1]: lines[i : i + 2] for i, line in enumerate(lines) if line.startswith("fail")
    }
    assert {"entries", "dvc", "mnist", "binary_mnist"} <= set(failed)
    assert "entries.made.arch.hiden" in failed["entries"][0]
    assert "params.yaml" in failed["entries"][1]
    assert "GENBENCH_MIRROR" in failed["mnist"][1]
    assert any(line.startswith("ok    python") for line in lines)


def test_draws_below_one_are_found_before_a_run(root: Path) -> None:
    small = {"latent": 2, "widths": [4], "hidden": 4}
    edit_params(
        root,
        "vae",
        model="vae",
        arch=small,
        train={"steps": 1, "optim": {"loss": {"lr": 0.1}}},
        score={"draws": 0},
    )
    with pytest.raises(UserError, match=r"entries\.vae\.score\.draws: must be at least 1, got 0"):
        check_params(load_params())


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (
            {"model": "ddpm", "sample": {"guidance": 2}},
            "sample.guidance: this entry is unconditional",
        ),
        (
            {"model": "ddpm", "sample": {"ddim_steps": 2000}},
            "sample.ddim_steps: must be 0 (none) to 1000, got 2000",
        ),
        (
            {"model": "ddpm", "score": {"terms": 5000}},
            "score.terms: must be 0 (all) to 1000, got 5000",
        ),
        (
            {"model": "flow_matching", "sample": {"solver": "rk5"}},
            "sample.solver: unknown 'rk5'; did you mean 'rk4'",
        ),
        (
            {"model": "flow_matching", "score": {"solver": "euler"}},
            "score.solver: unknown parameter",
        ),
        (
            {"model": "flow_matching", "score": {"probes": -1}},
            "score.probes: must be 0 (exact) or more, got -1",
        ),
        (
            {"model": "ebm", "sample": {"start": "bufer"}},
            "sample.start: unknown 'bufer'; did you mean 'buffer'",
        ),
        ({"model": "ebm", "sample": {"burn_in": 0}}, "sample.burn_in: must be at least 1, got 0"),
        ({"model": "ebm", "score": {"chains": 0}}, "score.chains: must be at least 1, got 0"),
        (
            {"model": "ebm", "score": {"chains": 5}},
            "score.chains: 5 can never count as the 10 of ess_floor that a likelihood needs",
        ),
        (
            {"model": "ebm", "score": {"ess_floor": 0.0}},
            "score.ess_floor: must be at least 10, below which no estimate is to be trusted, got 0",
        ),
        (
            {"model": "ddpm", "arch": {"timesteps": 100}},
            "arch: timesteps, beta_end: with these 100 timesteps 0.36 of an image's variance is left",
        ),
    ],
)
def test_bad_options_of_samplers_and_scores_are_found_before_a_run(
    root: Path, block: dict[str, object], message: str
) -> None:
    edit_params(root, "vae", train={"steps": 1, "optim": {"loss": {"lr": 0.1}}}, **block)
    with pytest.raises(UserError) as error:
        check_params(load_params(), ["vae"])
    assert f"entries.vae.{message}" in str(error.value)


def test_pictures_depend_on_the_seed_alone(root: Path) -> None:
    small = {"hidden": [8], "head": "logistic_mixture", "mixtures": 2}
    arch = {**small, "conditional": True}
    edit_params(root, "made", model="made", arch=arch)
    params = load_params()
    registry, checkpoint_, data = (
        importlib.import_module(f"genbench.{name}") for name in ("registry", "checkpoint", "data")
    )
    for name in ("made", "vae"):
        edit_params(root, name, model="made", arch=arch if name == "made" else small)
        entry = load_params().entry(name)
        checkpoint_.save(
            registry.build(entry, data.SPECS["mnist"]),
            params.run(name) / "weights.safetensors",
            entry=entry,
        )
    pictures = {}
    for name, options in {"a": (), "b": (), "c": ("--seed", "1"), "d": ("--labels", "3,4")}.items():
        assert call("sample", "made", "--png", f"{name}.png", "--n", "4", *options) == (
            0,
            f"{name}.png\n",
            "",
        )
        pictures[name] = Path(f"{name}.png").read_bytes()
    assert pictures["a"] == pictures["b"]
    assert len(set(pictures.values())) == 3
    for entry_name, labels, part in (
        ("made", "3,x", "integers"),
        ("made", "10", "0..9"),
        ("vae", "1", "unconditional"),
    ):
        code, _, stderr = call("sample", entry_name, "--png", "e.png", "--labels", labels)
        assert code == 1
        assert stderr.startswith("error: --labels")
        assert part in stderr
    assert not Path("e.png").exists()
