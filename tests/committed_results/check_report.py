"""The committed report is the one of the committed dvc.lock, and of the entries of params.yaml."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

from genbench.config.layout import Layout
from genbench.config.load import load_params, load_seeds
from genbench.registry import model_class, model_names
from genbench.report.published import literature

ROOT = Path(__file__).resolve().parents[2]
QUICK = load_params("quick", root=ROOT)
SEEDS = load_seeds(QUICK)
DECLARED = {**QUICK.entries, **({} if SEEDS is None else SEEDS.entries)}
REPORT = ROOT / "reports" / "quick"
BOARD: dict[str, Any] = json.loads((REPORT / "leaderboard.json").read_text())
STAGES: dict[str, Any] = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"]


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def test_each_entry_has_a_row_or_is_listed_as_missing() -> None:
    rows = {
        row["entry"]: (row["model"], row["dataset"], row["seed"])
        for row in BOARD["rows"]
        if row["status"] != "aggregate"
    }
    missing = {gap["entry"] for gap in BOARD["missing"]}
    assert rows.keys() | missing == DECLARED.keys()
    declared = {e.name: (e.model, e.dataset, e.seed) for e in DECLARED.values()}
    assert rows == {name: declared[name] for name in rows}


def test_the_entries_with_a_row_have_been_run_by_dvc() -> None:
    trained = {name.partition("@")[2] for name in STAGES if name.startswith("train@")}
    if SEEDS is not None:
        lock = yaml.safe_load(Layout.of(SEEDS).dvc_lock.read_text())["stages"]
        trained |= {name.partition("@")[2] for name in lock if name.startswith("train@")}
    assert {row["entry"] for row in BOARD["rows"] if row["status"] != "aggregate"} <= trained


def test_the_report_is_the_one_that_dvc_made() -> None:
    """By the hash that DVC gives a folder: that of the list of its files and their hashes."""
    (out,) = STAGES["report"]["outs"]
    paths = [path for path in (ROOT / out["path"]).rglob("*") if path.is_file()]
    names = {path.relative_to(ROOT / out["path"]): path for path in paths}
    listed = [
        {"md5": md5(names[name]), "relpath": name.as_posix()}
        for name in sorted(names, key=lambda name: name.parts)
    ]
    content = json.dumps(listed, sort_keys=True).encode()
    assert len(listed) == out["nfiles"]
    assert f"{hashlib.md5(content, usedforsecurity=False).hexdigest()}.dir" == out["md5"]


def test_each_family_has_published_results_beside_it() -> None:
    """``circuit`` has no model here."""
    ours = {model_class(name).family for name in model_names()} - {"control"}
    blocks = ("mnist", "binary_mnist", "fid")
    published = {row["family"] for block in blocks for row in literature()[block]["rows"]}
    assert published == ours | {"circuit"}
