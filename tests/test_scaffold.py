"""Text edits of params.yaml and the model that `genbench new-model` writes."""

from __future__ import annotations

import importlib.util
import itertools
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from genbench.base import DataSpec
from genbench.cli import scaffold
from genbench.cli.scaffold import add_seeds, new_model
from genbench.config.edit import add_entries
from genbench.config.load import load_params
from genbench.errors import UserError
from tests import contract

HEAD = """\
# A comment at the top.
root: {root}
profile: {profile}
params_file: {file}
datasets: [mnist, binary_mnist]
metrics: [fid]
protocol:
  samples: 64
  sample_chunk: 64
  likelihood_images: [{{from_passes: 1, images: 64}}]
  feature_reference_images: 64
compute: {{device: cpu, threads: 1}}
defaults:
  quick: {{train: {{steps: 2}}}} # for all
"""
ENTRIES = """\
entries:
  # Controls
  train_copy: {model: train_copy, dataset: mnist}

  made: # the one that everybody knows
    like: quick
    model: made
    dataset: mnist
    seed: 3
    arch: {hidden: [8]}
    train: {optim: {loss: {lr: 0.001}}}
    score: {} # nothing to set
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "params.yaml").write_text(
        HEAD.format(root=".", profile="quick", file="params.yaml") + ENTRIES
    )
    for name in ("smoke", "full"):
        folder = tmp_path / "profiles" / name
        folder.mkdir(parents=True)
        (folder / "params.yaml").write_text(
            HEAD.format(root="../..", profile=name, file=f"profiles/{name}/params.yaml") + ENTRIES
        )
    (tmp_path / "genbench" / "models").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(root: Path) -> dict[Path, str]:
    """The files of the project, without the lock of who edits it."""
    return {
        path: path.read_text()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".ckpt" not in path.parts
    }


# ---------------------------------------------------------------------- add_entries


@pytest.mark.parametrize(
    "text",
    [
        ENTRIES,
        ENTRIES.removesuffix("\n"),
        ENTRIES + "\n\n# about what follows\nmore: 1\n",
        "before: [1]\n" + ENTRIES + "  # a last word on the entries\n",
        ENTRIES.replace("\n  ", "\n      "),
        "entries:\n  a: {model: x,\n      dataset: y}\n",
        "entries:\n  a:\n    text: |\n      two\n      lines\nmore: {}\n",
    ],
)
def test_new_entries_leave_every_line_of_the_file_in_place(text: str) -> None:
    result = add_entries(text, ["new:\n  model: m\n  arch: {}", "other: {seed: 1}"])
    before, after = yaml.safe_load(text), yaml.safe_load(result)
    assert {
        name: value for name, value in after["entries"].items() if name not in ("new", "other")
    } == before["entries"]
    assert after["entries"]["new"] == {"model": "m", "arch": {}}
    assert after["entries"]["other"] == {"seed": 1}
    assert {**after, "entries": None} == {**before, "entries": None}
    old = text.rstrip("\n").split("\n")
    remaining = iter(result.split("\n"))
    assert all(any(line == candidate for candidate in remaining) for line in old)
    assert result.endswith("\n")


@pytest.mark.parametrize(
    "text", ["entries: {a: {seed: 0}}\n", "entries:\n", "other: 1\n", "entries: [a]\n", ""]
)
def test_a_file_without_a_written_entry_entries_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="block mapping"):
        add_entries(text, ["new: {}"])


def test_an_entry_that_is_there_already_is_not_overwritten() -> None:
    with pytest.raises(UserError, match="by hand"):
        add_entries("entries:\n  a: {seed: 0}\n", ["a: {seed: 1}"])


# ---------------------------------------------------------------------- seeds


def test_seeds_are_like_the_entry_but_for_the_seed(root: Path) -> None:
    assert add_seeds("quick", 3, ["made", "train_copy"]) == [
        "made-s4",
        "made-s5",
        "train_copy-s1",
        "train_copy-s2",
    ]
    params = load_params("quick")
    for name, seed in (("made-s4", 4), ("made-s5", 5)):
        assert params.entry(name) == replace(params.entry("made"), name=name, seed=seed)
    assert params.entry("train_copy-s2").seed == 2
    assert "made-s4" not in load_params("smoke").entries


def test_seeds_are_one_line_each_and_leave_the_rest_as_it_was(root: Path) -> None:
    before = (root / "params.yaml").read_text()
    add_seeds("quick", 3, ["made"])
    assert (root / "params.yaml").read_text() == before + (
        "\n  made-s4: {like: made, dataset: mnist, seed: 4}\n"
        "  made-s5: {like: made, dataset: mnist, seed: 5}\n"
    )
    add_seeds("quick", 4, ["made"])
    assert (
        (root / "params.yaml")
        .read_text()
        .endswith("seed: 5}\n  made-s6: {like: made, dataset: mnist, seed: 6}\n")
    )


def test_what_is_set_in_an_entry_is_set_in_its_seeds(root: Path) -> None:
    add_seeds("quick", 2, ["made"])
    path = root / "params.yaml"
    path.write_text(path.read_text().replace("lr: 0.001", "lr: 0.5"))
    assert load_params("quick").entry("made-s4").train["optim"]["loss"]["lr"] == 0.5


def test_seeds_of_an_entry_whose_name_yaml_would_read_as_a_number(root: Path) -> None:
    path = root / "params.yaml"
    path.write_text(path.read_text() + '  "0": {model: made, dataset: mnist}\n')
    assert add_seeds("quick", 2, ["0"]) == ["0-s1"]
    assert load_params("quick").entry("0-s1").model == "made"


def test_seeds_twice_add_only_what_is_missing(root: Path) -> None:
    add_seeds("smoke", 2, ["made"])
    once = contents(root)
    assert add_seeds("smoke", 2, ["made"]) == []
    assert contents(root) == once
    assert add_seeds("smoke", 3, ["made"]) == ["made-s5"]


def test_the_number_of_seeds_is_bounded(root: Path) -> None:
    before = contents(root)
    with pytest.raises(UserError, match=r"N: .* at most 1000, got 1000000000"):
        add_seeds("quick", 10**9, ["made"])
    assert contents(root) == before


EDIT = """
import sys, time
from pathlib import Path
from genbench.cli.scaffold import add_seeds, new_model
what, go = sys.argv[1], Path(sys.argv[2])
print("ready", flush=True)
while not go.exists():
    time.sleep(0.001)
new_model(what) if what.startswith("my_") else add_seeds("quick", int(what), ["made"])
"""


def test_edits_at_the_same_time_are_all_there(root: Path) -> None:
    """Twelve processes that start at one moment: each had read the file before another had written
    it, and wrote what it had read.
    """
    edits = [*(f"my_{i}" for i in range(6)), *map(str, range(2, 8))]
    command = [sys.executable, "-c", EDIT]
    running = [
        subprocess.Popen(
            [*command, edit, str(root / "go")], cwd=root, stdout=subprocess.PIPE, text=True
        )
        for edit in edits
    ]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    (root / "go").touch()
    assert [process.wait(timeout=400) for process in running] == [0] * len(running)
    for process in running:
        assert process.stdout is not None
        process.stdout.close()
    new = {f"my_{i}" for i in range(6)}
    assert set(load_params("quick").entries) == {
        "train_copy",
        "made",
        *(f"made-s{i}" for i in range(4, 10)),
        *new,
    }
    for profile in ("smoke", "full"):
        assert set(load_params(profile).entries) == {"train_copy", "made", *new}


def test_seeds_of_all_entries_leave_out_controls_and_copies(root: Path) -> None:
    add_seeds("quick", 2)
    assert add_seeds("quick", 3) == ["made-s5"]


def test_seeds_of_an_unknown_entry_change_nothing(root: Path) -> None:
    before = contents(root)
    with pytest.raises(UserError, match="did you mean 'made'"):
        add_seeds("quick", 3, ["made", "mode"])
    with pytest.raises(UserError, match="at least 2"):
        add_seeds("quick", 1, ["made"])
    assert contents(root) == before


# ---------------------------------------------------------------------- new models


def load_model(path: Path) -> type:
    spec = importlib.util.spec_from_file_location("written", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (name,) = module.__all__
    return getattr(module, name)


def test_a_new_model_is_a_distribution_and_samples_fast(root: Path) -> None:
    paths = new_model("my_first_model")
    assert [path.relative_to(root).as_posix() for path in paths] == [
        "genbench/models/my_first_model.py",
        "params.yaml",
        "profiles/full/params.yaml",
        "profiles/smoke/params.yaml",
    ]
    cls = load_model(paths[0])
    assert cls.__name__ == "MyFirstModel"
    rng = torch.Generator().manual_seed(0)
    for spec, arch in cls.tiny_specs:
        model = cls(spec, **arch).double().eval()
        with torch.no_grad():
            model.weight.normal_(generator=rng)
        images = torch.tensor(
            list(itertools.product(range(spec.levels), repeat=spec.dims)), dtype=torch.uint8
        ).view(-1, 1, spec.height, spec.width)
        assert len(images) <= 512
        assert model.log_likelihood(images, rng=rng).exp().sum().item() == pytest.approx(
            1, abs=1e-9
        )
        whole = model.logits(images)
        for i in range(spec.dims):
            torch.testing.assert_close(
                model.step(images, i, None)[0], whole[:, i], atol=1e-12, rtol=0
            )
    assert cls(DataSpec(28, 28, 256, 10)).sample(2, rng=rng).shape == (2, 1, 28, 28)


def test_a_new_model_passes_the_contract(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cls = load_model(new_model("my_first_model")[0])
    monkeypatch.setattr("genbench.registry.model_class", lambda name: cls)
    for case in contract.cases("my_first_model", cls):
        contract.check_phases(contract.start(case.build()))
        contract.check_depends_on_rng(contract.start(case.build()))
        model = contract.train(contract.start(case.build()))
        contract.check_training_improves_score(case, model)
        contract.check_checkpoint(case, model, root / "weights.safetensors")
        contract.check_bad_input(case, model)
        for check in (
            contract.check_phases,
            contract.check_seeded,
            contract.check_no_hidden_state,
            contract.check_batch_mates,
        ):
            check(model)
        for check in (
            contract.check_mass,
            contract.check_samples,
            contract.check_traceable,
            contract.check_inpaintable,
        ):
            check(model)


def test_a_new_model_is_an_entry_of_every_profile(root: Path) -> None:
    new_model("novel")
    steps = {}
    for profile in ("smoke", "quick", "full"):
        entry = load_params(profile).entry("novel")
        assert (entry.model, entry.dataset) == ("novel", "mnist")
        steps[profile] = entry.train["steps"]
        assert load_params(profile).entry("made").seed == 3
    assert steps["smoke"] < steps["quick"] < steps["full"]


@pytest.mark.parametrize("name", ["9lives", "My", "a-b", "class", "", "über", "_x", "a b", "../x"])
def test_a_bad_name_changes_nothing(root: Path, name: str) -> None:
    before = contents(root)
    with pytest.raises(UserError, match="cannot be a model's name"):
        new_model(name)
    assert contents(root) == before


@pytest.mark.parametrize("name", ["made", "vae"])
def test_a_name_that_is_taken_changes_nothing(root: Path, name: str) -> None:
    before = contents(root)
    with pytest.raises(UserError, match="already"):
        new_model(name)
    assert contents(root) == before


def test_a_name_that_is_an_entry_changes_nothing(root: Path) -> None:
    path = root / "profiles" / "full" / "params.yaml"
    path.write_text(path.read_text().replace("  made:", "  novel:"))
    before = contents(root)
    with pytest.raises(UserError, match="'full' has an entry 'novel' already"):
        new_model("novel")
    assert contents(root) == before


def test_a_profile_that_cannot_be_edited_changes_nothing(root: Path) -> None:
    path = root / "profiles" / "smoke" / "params.yaml"
    entries = "entries: {made: {model: made, dataset: mnist}}\n"
    path.write_text(
        HEAD.format(root="../..", profile="smoke", file="profiles/smoke/params.yaml") + entries
    )
    before = contents(root)
    with pytest.raises(UserError, match=r"smoke/params\.yaml: entries"):
        new_model("novel")
    assert contents(root) == before


def test_a_full_disk_halfway_changes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, written, write = contents(root), [], scaffold.write_text

    def third_write_fails(path: Path, text: str) -> None:
        written.append(path)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        write(path, text)

    monkeypatch.setattr(scaffold, "write_text", third_write_fails)
    with pytest.raises(OSError, match="No space"):
        new_model("novel")
    assert contents(root) == before


def test_new_model_outside_a_clone_says_what_to_do(root: Path) -> None:
    shutil.rmtree(root / "genbench")
    with pytest.raises(UserError, match="entry point group"):
        new_model("novel")


@pytest.mark.parametrize("written", [1, 2, 3])
def test_a_killed_call_is_finished_by_the_same_command(root: Path, written: int) -> None:
    before = contents(root)
    paths = new_model("novel")
    whole = contents(root)
    assert len(paths) == 4
    for path in paths[written:]:
        path.write_text(before[path])
    assert new_model("novel") == paths[written:]
    assert contents(root) == whole
    with pytest.raises(UserError, match="there is a model 'novel' already"):
        new_model("novel")
    assert contents(root) == whole


@pytest.mark.parametrize("edited", ["genbench/models/novel.py", "params.yaml"])
def test_what_a_killed_call_has_written_and_somebody_has_edited_is_no_part_of_it(
    root: Path, edited: str
) -> None:
    before = contents(root)
    paths = new_model("novel")
    paths[-1].write_text(before[paths[-1]])
    text = (root / edited).read_text()
    (root / edited).write_text(
        text + "# mine\n" if edited.endswith(".py") else text.replace("steps: 1000", "steps: 7")
    )
    assert (root / edited).read_text() != text
    edited_contents = contents(root)
    with pytest.raises(UserError, match="already"):
        new_model("novel")
    assert contents(root) == edited_contents
