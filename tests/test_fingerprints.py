"""Code fingerprints: what changes them, what does not, and that they contain all that a stage
really loads.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from genbench.config.layout import Layout
from genbench.config.params import Entry, Params
from genbench.config.stages import DATASET_STAGES, ENTRY_STAGES, STAGES
from genbench.errors import UserError
from genbench.pipeline.fingerprints import (
    SHARED_STAGES,
    check_unchanged,
    entry_fingerprint,
    outdated,
    shared_fingerprint,
)
from genbench.pipeline.import_closure import SOURCE_ROOT, Sources, source_hash
from genbench.pipeline.stage_runner import stage_places
from pipelines import fingerprints as stage

TREE = {
    "genbench/__init__.py": '"""A package."""\n__version__ = "1"\n',
    "genbench/base.py": (
        "import torch\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "
        "from genbench.unused import x\n"
    ),
    "genbench/unused.py": "x = 1\n",
    "genbench/late.py": "import genbench.base\n",
    "genbench/files.py": "import json\n",
    "genbench/scoring/features.py": (
        'from pathlib import Path\nWEIGHTS = Path(__file__).parent / "weights" / "net.bin"\n'
    ),
    "genbench/weights/net.bin": "weights",
    "genbench/weights/other.bin": "no one's",
    "genbench/families/__init__.py": "",
    "genbench/families/flows.py": (
        "from .. import base\n\ndef prior():\n    from genbench import late\n    return late\n"
    ),
    "genbench/families/masks.py": "from genbench.base import *\n",
    "genbench/models/__init__.py": "",
    "genbench/models/nice.py": "from genbench.families.flows import prior\n",
    "genbench/models/made.py": "from genbench.families import masks\n",
    "genbench/scoring/metrics/__init__.py": "",
    "genbench/scoring/metrics/fid.py": "scale = 1\n",
    "genbench/scoring/metrics/kid.py": "scale = 1\n",
    "genbench/data/__init__.py": "",
    "genbench/data/datasets.py": "names = 1\n",
    "genbench/data/mnist.py": "levels = 256\n",
    "genbench/data/letters.py": "levels = 2\n",
    "pipelines/__init__.py": "",
    "pipelines/prepare.py": "import genbench.files, genbench.data.datasets\n",
    "pipelines/features.py": "import genbench.scoring.features\n",
    "pipelines/train.py": (
        "import genbench.base, genbench.files as files\nfrom genbench.data import datasets\n"
    ),
    "pipelines/sample.py": "import genbench.base\n",
    "pipelines/pictures.py": "import genbench.base\n",
    "pipelines/score_likelihood.py": "import genbench.base\n",
    "pipelines/score_samples.py": "import genbench.files\n",
    "pipelines/probe.py": "import genbench.base\n",
    "pipelines/report.py": "import genbench.files\n",
    "pipelines/track.py": "import genbench.files\n",
}
ENTRIES = {name: Entry(name, name, "mnist", 0, {}, {}, {}, {}) for name in ("nice", "made")}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small source tree of our layout."""
    for path, text in TREE.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def _hashes(root: Path, metrics: tuple[str, ...] = ("fid",)) -> dict[str, str]:
    sources = Sources(root)
    own = {
        f"{s}@{e.name}": entry_fingerprint(sources, s, e, metrics).hash
        for e in ENTRIES.values()
        for s in ENTRY_STAGES
    }
    return own | {s: shared_fingerprint(sources, s, ("mnist",)).hash for s in SHARED_STAGES}


def _changed(root: Path, path: str, text: str) -> set[str]:
    before = _hashes(root)
    (root / path).write_text(text)
    after = _hashes(root)
    return {name for name in before if before[name] != after[name]}


NICE = {f"{name}@nice" for name in ENTRY_STAGES if name != "score_samples"}
MADE = {name.replace("nice", "made") for name in NICE}


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("genbench/models/made.py", "from genbench.families import masks\nwidth = 2\n", MADE),
        ("genbench/families/flows.py", TREE["genbench/families/flows.py"] + "x = 1\n", NICE),
        ("genbench/families/__init__.py", "x = 1\n", NICE | MADE),
        ("genbench/late.py", "x = 1\n", NICE),
        ("genbench/base.py", "import torch\n", NICE | MADE),
        ("genbench/unused.py", "x = 2\n", set()),
        (
            "genbench/scoring/metrics/fid.py",
            "scale = 2\n",
            {"score_samples@nice", "score_samples@made"},
        ),
        ("genbench/scoring/metrics/kid.py", "scale = 2\n", set()),
        ("genbench/data/mnist.py", "levels = 4\n", {"train@nice", "train@made", "prepare"}),
        ("genbench/data/letters.py", "levels = 4\n", set()),
        ("genbench/weights/net.bin", "others", {"features"}),
        ("genbench/weights/other.bin", "others", set()),
        ("pipelines/sample.py", "import genbench.files\n", {"sample@nice", "sample@made"}),
        ("genbench/models/new.py", "x = 1\n", set()),
        ("genbench/__init__.py", '"""A package."""\n__version__ = "2"\n', set()),
    ],
)
def test_an_edit_changes_what_can_run_it(
    tree: Path, path: str, text: str, expected: set[str]
) -> None:
    assert _changed(tree, path, text) == expected


def test_layout_comments_and_docstrings_change_nothing(tree: Path) -> None:
    head = '"""Flows."""\nfrom .. import base  # why\n\n\n'
    text = head + (
        'def prior():\n    """The prior."""\n    from genbench import (\n        late,\n    '
        ")\n\n    return (late)\n"
    )
    assert _changed(tree, "genbench/families/flows.py", text) == set()


def test_metrics_count_by_name(tree: Path) -> None:
    one, two = _hashes(tree), _hashes(tree, ("fid", "kid"))
    assert {name for name in one if one[name] != two[name]} == {
        "score_samples@nice",
        "score_samples@made",
    }


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("x = 1", "x = 1.0"),
        ("x = 1", "x = True"),
        ("x = None", "x = 'None'"),
        ("x = y[a:]", "x = y[:a]"),
        ("x = 'a'", "x = b'a'"),
        ("def f(a, /): return a", "def f(a): return a"),
        ("def f(): return 1", "async def f(): return 1"),
        ("x = f'{a!r}'", "x = f'{a}'"),
        ("x = [a, b]", "x = [b, a]"),
        ("f(a)", "f(*a)"),
        ("from a import b", "from .a import b"),
        ("x: int = 1", "x = 1"),
        ("@f\ndef g(): return 1", "def g(): return 1"),
        ("def f():\n    'doc'\n    return 1", "def f():\n    return 'doc'"),
    ],
)
def test_different_programs_have_different_hashes(one: str, two: str) -> None:
    assert source_hash(ast.parse(one)) != source_hash(ast.parse(two))


def test_closure_names_files_by_relative_path(tree: Path) -> None:
    fingerprint = entry_fingerprint(Sources(tree), "train", ENTRIES["made"], ())
    assert set(fingerprint.files) == {
        "genbench/__init__.py",
        "genbench/base.py",
        "genbench/data/__init__.py",
        "genbench/data/datasets.py",
        "genbench/data/mnist.py",
        "genbench/families/__init__.py",
        "genbench/families/masks.py",
        "genbench/files.py",
        "genbench/models/__init__.py",
        "genbench/models/made.py",
        "pipelines/__init__.py",
        "pipelines/train.py",
    }


def test_plugin_counts_by_its_version(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Entry("mine", "mine", "mnist", 0, {}, {}, {}, {})
    found = []
    for version in ("1.0", "1.1", "1.1"):
        monkeypatch.setattr(
            "genbench.registry.plugin", lambda name, version=version: f"mine=={version}"
        )
        found.append(entry_fingerprint(Sources(tree), "train", entry, ()))
    assert [f.plugin for f in found] == ["mine==1.0", "mine==1.1", "mine==1.1"]
    assert found[0].hash != found[1].hash == found[2].hash
    assert entry_fingerprint(Sources(tree), "score_samples", entry, ()).plugin is None


def test_unknown_names_list_near_matches(tree: Path) -> None:
    sources = Sources(tree)
    with pytest.raises(UserError, match=r"metrics: 'fidd' is no metric; did you mean 'fid'"):
        entry_fingerprint(sources, "score_samples", ENTRIES["made"], ("fidd",))
    with pytest.raises(UserError, match=r"entries\.x\.model: '\.\./made' is no model"):
        entry_fingerprint(sources, "train", Entry("x", "../made", "mnist", 0, {}, {}, {}, {}), ())
    (tree / "genbench" / "base.py").write_text("x = = 1\n")
    with pytest.raises(UserError, match=r"base\.py:1: invalid syntax"):
        entry_fingerprint(Sources(tree), "train", ENTRIES["made"], ())


@pytest.mark.parametrize(
    "content", [b"x = = %d\n", b"x = %d\0", b"x = '\xff' # %d\n", b"(" * 1000 + b"%d"]
)
def test_a_broken_model_leaves_the_fingerprints_of_others(tree: Path, content: bytes) -> None:
    before = _hashes(tree)
    (tree / "genbench" / "models" / "made.py").write_bytes(content % 1)
    after = _hashes(tree)
    assert {name for name in before if before[name] != after[name]} == MADE
    (tree / "genbench" / "models" / "made.py").write_bytes(content % 2)
    assert {name for name, value in _hashes(tree).items() if value != after[name]} == MADE


def test_stage_writes_the_same_bytes_twice_and_drops_old_entries(params: Params) -> None:
    stage.run(params)
    folder = Layout.of(params).fingerprints
    before = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.json")}
    (folder / "gone").mkdir()
    (folder / "gone" / "train.json").write_text("{}")
    inodes = {
        path: path.stat().st_ino for path in folder.rglob("*.json") if path.parent.name != "gone"
    }
    stale, broken = (
        Layout.of(params).fingerprint("made", "train"),
        Layout.of(params).fingerprint("vae", "sample"),
    )
    stale.write_text("{}")
    broken.write_text("{")
    stage.run(params)
    assert {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.json")
    } == before
    assert {path for path, inode in inodes.items() if path.stat().st_ino != inode} == {
        stale,
        broken,
    }
    assert {path.parts[0] for path in before} == {"_stages", *params.entries}
    for entry in params.entries.values():
        record = json.loads(Layout.of(params).fingerprint(entry.name, "train").read_text())
        assert f"genbench/models/{entry.model}.py" in record["files"]


def test_what_dvc_cannot_see_is_named(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of a plug-in, and other threads by the environment."""
    entry = Entry("mine", "mine", "mnist", 0, {}, {}, {}, {})
    with_plugin = dataclasses.replace(params, entries={**params.entries, "mine": entry})
    layout = Layout.of(params)

    def install(version: str) -> None:
        monkeypatch.setattr(
            "genbench.registry.plugin",
            lambda name: f"mine=={version}" if name == "mine" else None,
        )

    install("1.0")
    assert outdated(with_plugin) == []  # nothing was written yet
    stage.run(with_plugin)
    assert outdated(with_plugin) == []
    install("1.1")
    runs_it = ("train", "sample", "pictures", "score_likelihood", "probe")
    assert outdated(with_plugin) == [layout.fingerprint("mine", name) for name in runs_it]
    stage.run(with_plugin)
    assert outdated(with_plugin) == []
    threads = with_plugin.compute.threads + 1
    other = dataclasses.replace(
        with_plugin, compute=dataclasses.replace(with_plugin.compute, threads=threads)
    )
    expected = [
        *(layout.fingerprint("", name) for name in DATASET_STAGES if STAGES[name].computes),
        *(layout.fingerprint(name, own) for name in other.entries for own in ENTRY_STAGES),
    ]
    assert outdated(other) == expected


@pytest.fixture
def copied(params: Params) -> Params:
    """The project with a copy of the installed sources in it, as DVC makes one for an experiment
    (--temp, --queue).
    """
    for package in ("genbench", "pipelines"):
        shutil.copytree(
            SOURCE_ROOT / package,
            params.root / package,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    return params


def test_stage_runs_in_a_copy_of_the_installed_project(copied: Params) -> None:
    path = copied.root / "genbench" / "training" / "fit.py"
    path.write_text(
        path.read_text(encoding="utf-8") + "# an edit that no result depends on\n", encoding="utf-8"
    )
    stage.run(copied)
    fingerprint = json.loads(
        Layout.of(copied).fingerprint("made", "train").read_text(encoding="utf-8")
    )
    assert (
        fingerprint["hash"] == entry_fingerprint(Sources(), "train", copied.entry("made"), ()).hash
    )


@pytest.mark.parametrize(
    ("file", "new", "named"),
    [
        ("genbench/models/made.py", "\nMORE = 1\n", "genbench/models/made.py"),
        ("pipelines/sample.py", "\nMORE = 1\n", "pipelines/sample.py"),
        ("genbench/report/page.css", "p {}", "genbench/report/page.css"),
        ("genbench/models/vae.py", None, "'vae' is no model"),
    ],
)
def test_stage_refuses_a_project_whose_sources_are_not_those_installed(
    copied: Params, file: str, new: str | None, named: str
) -> None:
    path = copied.root / file
    if new is None:  # a new file that git does not know is not in DVC's copy
        path.unlink()
    else:
        path.write_text(path.read_text(encoding="utf-8") + new, encoding="utf-8")
    with pytest.raises(UserError) as error:
        stage.run(copied)
    for part in (
        str(SOURCE_ROOT),
        named,
        f"pip install --no-deps --no-build-isolation -e {copied.root}",
        "--temp, --queue",
    ):
        assert part in str(error.value)
    assert not Layout.of(copied).fingerprints.exists()


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", "3", "{}", '{"hash": "x", "files": 3, "plugin": null}']
)
def test_a_damaged_fingerprint_is_made_anew_and_stops_its_own_stage_alone(
    params: Params, damage: str
) -> None:
    stage.run(params)
    path = Layout.of(params).fingerprint("made", "train")
    path.write_text(damage, encoding="utf-8")
    assert outdated(params) == [path], "so that `genbench run` writes the fingerprints anew"
    with pytest.raises(UserError, match=r"made/train\.json is damaged .*; delete it"):
        check_unchanged(params, "train", "made")
    check_unchanged(params, "train", "vae")
    stage.run(params)
    assert outdated(params) == []
    check_unchanged(params, "train", "made")


def test_stage_imports_no_torch() -> None:
    program = (
        "import sys, pipelines.fingerprints, genbench.registry; genbench.registry.model_names(); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=SOURCE_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"


# Runs each stage in a child of its own, which has loaded nothing of ours before, and notes which
# modules of ours the stage loaded and which data files of ours it opened. The libraries are loaded
# once, by the parent.
LIBRARIES = ["jinja2", "jsonschema", "matplotlib.figure", "numpy", "pandas", "PIL.Image"]
LIBRARIES += ["ruamel.yaml", "safetensors.torch", "scipy.stats", "sklearn.linear_model", "torch"]
LIBRARIES += ["torch._dynamo", "torch_fidelity", "tqdm", "yaml"]
WATCH = """
import importlib, json, os, pathlib, sys
root, source, steps = pathlib.Path(sys.argv[1]), sys.argv[2] + "/", json.loads(sys.argv[3])
for library in sys.argv[4:]:
    importlib.import_module(library)
opened = set()
packages = ("genbench", "pipelines")
def hook(event, args):
    if event == "open" and isinstance(args[0], str):
        if args[0].startswith(tuple(source + name + "/" for name in packages)):
            opened.add(args[0][len(source):])
sys.addaudithook(hook)
for stage, key, places in steps:
    child = os.fork()
    if child:
        if os.waitpid(child, 0)[1]:
            raise SystemExit(f"{stage} {key} failed")
        continue
    from genbench.config.load import load_params
    places = {part: pathlib.Path(path) for part, path in places.items()}
    params = load_params("quick", root=root)
    importlib.import_module(f"pipelines.{stage}").run(params, *([key] if key else []), **places)
    ours = [sys.modules[name] for name in list(sys.modules) if name.split(".")[0] in packages]
    loaded = {module.__file__[len(source):] for module in ours if getattr(module, "__file__", None)}
    data = [file for file in opened if not file.endswith((".py", ".pyc"))]
    loaded |= {file for file in data if os.path.isfile(source + file)}
    with open(root / "loaded.txt", "a") as out:
        out.write(json.dumps([stage, key, sorted(loaded)]) + "\\n")
    os._exit(0)
"""


def _places(params: Params, name: str, key: str | None) -> dict[str, str]:
    """The paths that a stage is handed; which of our modules find them is no matter here."""
    places = {} if key is None else stage_places(params, STAGES[name], key)
    return {part: str(path) for part, path in places.items()}


def _loaded(
    params: Params, steps: Sequence[tuple[str, str | None]]
) -> list[tuple[str, str | None, set[str]]]:
    command = [
        sys.executable,
        "-c",
        WATCH,
        str(params.root),
        str(SOURCE_ROOT),
        json.dumps([(name, key, _places(params, name, key)) for name, key in steps]),
        *LIBRARIES,
    ]
    done = subprocess.run(command, cwd=SOURCE_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    lines = (params.root / "loaded.txt").read_text().splitlines()
    return [(stage, key, set(files)) for stage, key, files in map(json.loads, lines)]


def test_what_a_stage_loads_is_in_its_fingerprint(params: Params) -> None:
    stage.run(params)
    sources = Sources()
    by_model = {entry.model: entry.name for entry in params.entries.values()}
    steps: list[tuple[str, str | None]] = (
        [("prepare", "mnist")] if "GENBENCH_MIRROR" in os.environ else []
    )
    steps += [("features", dataset) for dataset in params.datasets]
    steps += [
        (name, entry)
        for entry in by_model.values()
        for name in ENTRY_STAGES
        if name != "score_samples"
    ]
    # Samples of all models are scored by the same code.
    steps += [("score_samples", by_model["made"]), ("report", None)]
    loaded = _loaded(params, steps)
    assert [(name, key) for name, key, _ in loaded] == steps
    for name, key, files in loaded:
        assert f"pipelines/{name}.py" in files
        # What the program imports that calls the stage.
        known = set(sources.closure(["genbench.config.load", "genbench.former_names"]))
        if key is not None and key in params.entries:
            known |= set(
                entry_fingerprint(sources, name, params.entries[key], params.metrics).files
            )
        else:
            known |= set(shared_fingerprint(sources, name, params.datasets).files)
        if (
            name == "report"
        ):  # it looks models up by name; their fingerprints are among the files that it depends on
            known |= {
                file
                for e in params.entries.values()
                for file in entry_fingerprint(sources, "train", e, ()).files
            }
        assert files <= known, (
            f"{name} {key} loads {sorted(files - known)}, which its fingerprint lacks"
        )
