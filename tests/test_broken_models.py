"""A model that cannot be used, whatever it does instead, stops its own entries alone, and its file
and what it did are named.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from itertools import takewhile
from pathlib import Path

import pytest
import torch
import yaml

import genbench.models
from genbench import registry
from genbench.cli.doctor import checks
from genbench.cli.info import print_info
from genbench.cli.models import print_models
from genbench.cli.scaffold import add_seeds
from genbench.config.layout import Layout
from genbench.config.load import load_params
from genbench.config.params import Params
from genbench.data.datasets import spec_of
from genbench.errors import UserError
from genbench.files import read_json
from genbench.pictures.interpolation import interpolation
from genbench.pipeline import stage_runner
from genbench.pipeline.clean import clean
from genbench.pipeline.validate import check_params
from genbench.registry import BrokenModel, model_class, model_classes
from genbench.report.rows import leaderboard
from genbench.results.entry import read_entries
from genbench.tracking.runs import tracked_runs
from tests.entries import finished_project

HEAD = """
import sys
from collections.abc import Sequence
import torch
from genbench.base import DataSpec, GenerativeModel, Likelihood

__all__ = ["Bad"]
"""
MODEL = (
    HEAD
    + """
class Bad(GenerativeModel):
    likelihood = Likelihood.NONE
    family = "control"
    tiny_specs = []

    def __init__(self, spec: DataSpec, *, width: int = 1) -> None:
        super().__init__(spec)
        self.weight = torch.nn.Parameter(torch.zeros(width))

    def sample(self, n, y=None, *, rng):
        return torch.zeros(n, 1, self.spec.height, self.spec.width, dtype=torch.uint8)
"""
)
"""A model that can be used."""

AT_IMPORT = {
    "error": ("x = 1\nraise RuntimeError('boom')\n", "bad.py:2: RuntimeError: boom"),
    "key": ("{}['absent']\n", "bad.py:1: KeyError: 'absent'"),
    "exit": ("import sys\nsys.exit('enough')\n", "bad.py:2: SystemExit: enough"),
    "exit without a word": ("raise SystemExit\n", "bad.py:1: SystemExit"),
    "base exception": ("class Stop(BaseException): ...\nraise Stop('no')\n", "bad.py:2: Stop: no"),
    "recursion": ("def f():\n    f()\nf()\n", "bad.py:2: RecursionError: maximum recursion depth"),
    "user error": (
        "from genbench.errors import UserError\nraise UserError('u')\n",
        "bad.py:2: UserError: u",
    ),
    "import": ("import nothing_of_the_kind\n", "bad.py:1: No module named 'nothing_of_the_kind'"),
    "syntax": ("x = = 1\n", "bad.py:1: invalid syntax"),
    "text": ("\0", "null bytes"),
    "no __all__": (MODEL.replace('__all__ = ["Bad"]', ""), "bad.py: has no __all__"),
    "absent": (HEAD, "bad.py: __all__ names Bad, which the file does not define"),
    "no text": (
        MODEL.replace('["Bad"]', "[1]"),
        "bad.py: __all__ must be a list of names, got [1]",
    ),
    "no list": (MODEL.replace('["Bad"]', "3"), "bad.py: __all__ must be a list of names, got 3"),
    "no class": ("__all__ = []\n", "bad.py: __all__ must name exactly one GenerativeModel, got []"),
    "two": (
        MODEL.replace('["Bad"]', '["Bad", "Worse"]') + "\nclass Worse(Bad): ...\n",
        "bad.py: __all__ must name exactly one GenerativeModel, got ['Bad', 'Worse']",
    ),
    "no family": (
        MODEL.replace('family = "control"', ""),
        "bad.py: Bad.family must be a str, got None",
    ),
    "no kind": (
        MODEL.replace("Likelihood.NONE", '"none"'),
        "bad.py: Bad.likelihood must be a Likelihood, got 'none'",
    ),
    "abstract": (MODEL.replace("def sample(", "def draw("), "bad.py: Bad does not define sample"),
}
"""Content of a model's file → what is said of it."""

LATER = {
    "constructor": (
        MODEL.replace("super().__init__(spec)", "raise TypeError('t')"),
        "bad.py:15: TypeError: t",
    ),
    "constructor's value": (
        MODEL.replace("super().__init__(spec)", "raise ValueError('v')"),
        "bad.py:15: ValueError: v",
    ),
    "constructor exits": (
        MODEL.replace("super().__init__(spec)", "sys.exit(3)"),
        "bad.py:15: SystemExit: 3",
    ),
    "constructor forgets": (
        MODEL.replace("super().__init__(spec)", "pass"),
        "bad.py:16: AttributeError: cannot assign parameter",
    ),
    "phases": (
        MODEL + "    def phases(self):\n        sys.exit('no')\n",
        "bad.py:21: SystemExit: no",
    ),
    "no phases": (
        MODEL + "    def phases(self):\n        return None\n",
        "): TypeError: 'NoneType' object is not iterable",
    ),
    "passes": (
        MODEL + "    def likelihood_passes(self):\n        return [][0]\n",
        "bad.py:21: IndexError",
    ),
}
"""The same of a file that can be imported."""


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of models: those of the package, and one that a test writes."""
    folder = tmp_path / "elsewhere" / "genbench" / "models"
    shutil.copytree(Path(genbench.models.__file__).parent, folder)
    monkeypatch.setattr(registry, "_MODELS", folder)
    monkeypatch.setattr(genbench.models, "__path__", [str(folder)])
    before = set(sys.modules)
    yield folder
    for name in {one for one in sys.modules if one.startswith("genbench.models.")} - before:
        del sys.modules[name]


@pytest.fixture
def params(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A project of two finished entries, one of ``made`` and one of the model ``bad``, which can be
    used.
    """
    (models / "bad.py").write_text(MODEL)
    (tmp_path / "project").mkdir()
    params = finished_project(
        tmp_path / "project", ["made"], broken={"model": "bad", "dataset": "mnist", "arch": {}}
    )
    monkeypatch.chdir(params.root)
    return params


def use(models: Path, content: str) -> None:
    """Give the model ``bad`` another file."""
    (models / "bad.py").write_text(content)
    sys.modules.pop("genbench.models.bad", None)


def statuses(params: Params) -> tuple[set[str], dict[str, str]]:
    """The entries that the report shows whole, and the reasons for the others."""
    board = leaderboard(params, read_entries(params))
    return {row["entry"] for row in board["rows"] if row["status"] == "ok"}, {
        gap["entry"]: gap["reason"] for gap in board["missing"]
    }


def test_the_example_can_be_used(params: Params) -> None:
    assert check_params(params) == {}
    assert statuses(params) == ({"made", "broken"}, {})
    assert {one.entry.name for one in tracked_runs(params)[0]} == {"made", "broken"}


@pytest.mark.parametrize(("content", "said"), AT_IMPORT.values(), ids=AT_IMPORT)
def test_a_file_that_cannot_be_imported_costs_its_own_entries(
    params: Params, models: Path, capsys: pytest.CaptureFixture[str], content: str, said: str
) -> None:
    use(models, content)
    for reason in (check_params(params), statuses(params)[1], tracked_runs(params)[1]):
        assert reason.keys() == {"broken"}
        assert (
            reason["broken"]
            .removeprefix("model 'bad' cannot be used: ")
            .startswith("genbench/models/bad.py")
        )
        assert said in reason["broken"]
        assert "(model 'bad')" in reason["broken"]
    assert statuses(params)[0] == {"made"}
    assert [one.entry.name for one in tracked_runs(params)[0]] == ["made"]
    classes, broken = model_classes()
    assert "made" in classes
    assert broken.keys() == {"bad"}
    print_info("quick", "broken")
    printed = capsys.readouterr().out
    assert said in printed
    assert "fid_mnist: 12.5" in printed, "what is known of the entry is shown all the same"


@pytest.mark.parametrize(("content", "said"), LATER.values(), ids=LATER)
def test_a_model_that_cannot_be_built_or_asked_costs_its_own_entries(
    params: Params, models: Path, content: str, said: str
) -> None:
    use(models, content)
    broken = check_params(params)
    assert broken.keys() == {"broken"}
    assert said in broken["broken"]
    assert broken["broken"].startswith("genbench/models/bad.py")
    assert "(model 'bad')" in broken["broken"]
    assert statuses(params) == ({"made", "broken"}, {}), (
        "what was made by an earlier version stays to be seen"
    )


def test_a_refused_option_is_a_mistake_of_params_and_stops_the_run(
    params: Params, models: Path
) -> None:
    use(
        models,
        MODEL.replace(
            "super().__init__(spec)",
            "from genbench.errors import UserError; raise UserError('width: odd')",
        ),
    )
    with pytest.raises(UserError, match=r"entries\.broken\.arch: width: odd") as caught:
        check_params(params)
    assert not isinstance(caught.value, BrokenModel)


def test_ctrl_c_while_a_model_is_imported_is_ctrl_c(params: Params, models: Path) -> None:
    use(models, "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        check_params(params)


def test_the_commands_go_on(
    params: Params, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    use(models, "import sys\nsys.exit(1)\n")
    print_models()
    printed = capsys.readouterr()
    assert "made" in printed.out
    assert "bad: genbench/models/bad.py:2: SystemExit: 1 (model 'bad')" in printed.err
    print_info("quick", "made")
    assert "nats: 400" in capsys.readouterr().out
    assert add_seeds("quick", 2) == ["made-s1", "broken-s1"]
    (Layout.of(params).unfinished / "quick-broken-train-0123456789abcdef").mkdir(parents=True)
    clean(everything=True)
    assert [path for path in Layout.of(params).unfinished.iterdir() if path.is_dir()] == []


def test_doctor_names_it_and_checks_the_rest(params: Params, models: Path) -> None:
    use(models, "import sys\nsys.exit(1)\n")
    found = {
        check.what: check
        for check in takewhile(lambda check: check.what != "mnist", checks("quick"))
    }
    assert found["entries"].level == "fail"
    assert "broken: genbench/models/bad.py:2: SystemExit: 1" in found["entries"].found
    assert found["permission"].level == "ok"


@pytest.mark.parametrize("name", ["exit", "no __all__"])
def test_a_stage_of_it_fails_with_the_reason(
    project: Path, models: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    content, said = AT_IMPORT[name]
    raw = yaml.safe_load((project / "params.yaml").read_text())
    raw["entries"] = {"broken": {**raw["entries"]["made"], "model": "bad", "arch": {}}}
    (project / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    use(models, content)
    monkeypatch.chdir(project)
    monkeypatch.setenv("DVC_STAGE", "train@broken")
    params = load_params("quick")
    Layout.of(params).fingerprint("broken", "train").parent.mkdir(parents=True)
    monkeypatch.setattr(stage_runner, "check_unchanged", lambda *_: None)
    Layout.of(params).fingerprint("broken", "train").write_text('{"hash": "x"}')
    with pytest.raises(BrokenModel):
        stage_runner.run_stage("quick", "train", "broken")
    assert said in read_json(Layout.of(params).status("broken", "train"))["error"]


PLUGINS = {
    "no module": ("no_such_module:Bad", None, "No module named 'no_such_module'"),
    "no name": (
        "bad_plugin:Absent",
        MODEL,
        "AttributeError: module 'bad_plugin' has no attribute 'Absent'",
    ),
    "exit": ("bad_plugin:Bad", "import sys\nsys.exit(5)\n", "bad_plugin.py:2): SystemExit: 5"),
    "no class": (
        "bad_plugin:Bad",
        "Bad = 3\n",
        "the entry point 'bad_plugin:Bad': must be a GenerativeModel class, got 3",
    ),
}


@pytest.mark.parametrize(("value", "content", "said"), PLUGINS.values(), ids=PLUGINS)
def test_a_plugin_that_does_not_load_costs_its_own_entries(
    params: Params,
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
    value: str,
    content: str | None,
    said: str,
) -> None:
    (models / "bad.py").unlink()
    if content is not None:
        (models / "bad_plugin.py").write_text(content)
    monkeypatch.syspath_prepend(models)
    monkeypatch.delitem(sys.modules, "bad_plugin", raising=False)
    monkeypatch.setattr(
        registry, "_plugins", lambda: {"bad": EntryPoint("bad", value, "genbench.models")}
    )
    broken = check_params(params)
    assert broken.keys() == {"broken"}
    assert said in broken["broken"]
    assert broken["broken"].startswith(f"the entry point {value!r}")
    assert statuses(params)[0] == {"made"}


def test_an_unknown_model_is_a_mistake_of_params(params: Params) -> None:
    with pytest.raises(UserError, match=r"'vea' is no model; did you mean 'vae'") as caught:
        model_class("vea")
    assert not isinstance(caught.value, BrokenModel)


def test_messages_of_what_a_model_cannot_do_leave_broken_ones_out(
    params: Params, models: Path
) -> None:
    use(models, "raise SystemExit\n")
    made = model_class("made")(spec_of("mnist"), head="categorical")
    with pytest.raises(UserError, match=r"cannot .*Models that can: .*vae"):
        interpolation(made, rng=torch.Generator())
