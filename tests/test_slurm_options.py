"""What the file of options of Slurm may hold, whose options are whose, how times are written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from genbench.errors import UserError
from genbench.launchers.slurm_options import SlurmOptions, read_options
from tests.trees import REPOSITORY

ENTRIES = ("made", "pixel_transformer_cond", "vae", "vq_vae")


def options(
    tmp_path: Path, text: str, key: str = "vae", *, threads: int = 3, gpus: int = 0
) -> SlurmOptions:
    path = tmp_path / "slurm.yaml"
    path.write_text(text)
    return read_options(path, threads=threads, gpus=gpus, entries=ENTRIES)(key)


def test_the_example_of_the_docs_means_what_it_says(tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "cluster.md").read_text("utf-8")
    found = re.search(r"```yaml\n(partition.*?)```", page, re.DOTALL)
    assert found
    vae = options(tmp_path, found[1], threads=1)
    assert (vae.partition, vae.time, vae.memory_gb, vae.cpus) == ("gpu", 120, 8, 1)
    assert vae.parameters()["additional_parameters"] == {"requeue": True, "constraint": "a100"}
    assert options(tmp_path, found[1], "pixel_transformer_cond", threads=1).time == 480


@pytest.mark.parametrize(
    ("written", "minutes"),
    [
        ("90", 90),
        ("30:00", 30),
        ("'30:01'", 31),
        ("2:00:00", 120),
        ("1-0", 1440),
        ("1-02:30", 1590),
        ("2-00:00:30", 2881),
    ],
)
def test_times(tmp_path: Path, written: str, minutes: int) -> None:
    assert options(tmp_path, f"time: {written}").time == minutes


@pytest.mark.parametrize("written", ["0", "soon", "1:2", "-5", "1.5", "0:00", "true"])
def test_other_times_are_refused(tmp_path: Path, written: str) -> None:
    with pytest.raises(UserError, match=r"slurm\.yaml\.time: must be "):
        options(tmp_path, f"time: {written}")


def test_what_is_not_written_is_of_the_profile(tmp_path: Path) -> None:
    assert options(tmp_path, "").cpus == 3
    assert options(tmp_path, "cpus: 5").cpus == 5
    assert options(tmp_path, "", gpus=1).gpus == 1
    assert options(tmp_path, "gpus: 0", gpus=1).gpus == 0


def test_of_overrides_the_last_that_matches_holds(tmp_path: Path) -> None:
    text = "{memory_gb: 4, overrides: {'v*': {memory_gb: 5, cpus: 4}, vae: {memory_gb: 6}}}"
    assert options(tmp_path, text, "made").memory_gb == 4
    assert (
        options(tmp_path, text, "vq_vae").memory_gb,
        options(tmp_path, text, "vq_vae").cpus,
    ) == (
        5,
        4,
    )
    assert (options(tmp_path, text).memory_gb, options(tmp_path, text).cpus) == (6, 3)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("partitoin: gpu", "partitoin"),
        ("overrides: {vae: {tim: 3}}", r"overrides\.vae"),
        ("overrides: 3", "overrides: must be a mapping"),
        ("overrides: {vea: {time: 3}}", r"overrides\.vea: matches no entry; did you mean .*'vae'"),
        ("overrides: {'mode*': {}}", r"overrides\.mode\*: matches no entry; did you mean 'made'"),
        ("overrides: {made-s: {}}", r"overrides\.made-s: matches no entry"),
        ("cpus: 2", r"slurm\.yaml\.cpus: must be no fewer than compute\.threads, 3, got 2"),
        ("overrides: {vae: {cpus: 1}}", r"overrides\.vae\.cpus: must be no fewer .* 3, got 1"),
        ("[1, 2]", "must hold a mapping"),
        ("a: [", "no valid YAML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        options(tmp_path, text)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml cannot be read"):
        read_options(tmp_path / "nowhere.yaml", threads=1, entries=ENTRIES)


@pytest.mark.parametrize("pattern", ["vae-s1", "vae-s*", "v*-s?"])
def test_overrides_may_be_of_further_seeds(tmp_path: Path, pattern: str) -> None:
    text = f"{{overrides: {{'{pattern}': {{time: 7}}}}}}"
    assert options(tmp_path, text, "vae-s1").time == 7
    assert options(tmp_path, text).time == 120
