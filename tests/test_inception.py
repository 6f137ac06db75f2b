"""The optional Inception network: features, scores on request, and a weights file that is checked
before anything of it is unpickled.
"""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from genbench.config.layout import Layout
from genbench.config.load import load_params
from genbench.config.params import Entry, Params
from genbench.data.splits import EXCERPT
from genbench.errors import UserError
from genbench.files import read_json, sha256, write_npz
from genbench.hardware.compute import Compute
from genbench.pipeline.stage_runner import call_stage
from genbench.scoring import inception
from genbench.scoring.inception import (
    InceptionWeights,
    checked_weights,
    inception_features,
    load_inception,
)
from genbench.scoring.records import read_record
from tests.params_factory import protocol

NAME = "weights-inception-2015-12-05-6726825d.pth"


def images(n: int, levels: int = 256) -> Tensor:
    return torch.randint(
        0, levels, (n, 1, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file of the right shapes with random content."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        torch.manual_seed(0)
        patch.setattr(
            "torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url",
            lambda *_, **__: {},
        )
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        torch.save(FeatureExtractorInceptionV3("net", ["2048"]).state_dict(), path)
    return path


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torch-fidelity keeps its downloads, which is empty, and no network."""

    def no_network(*_: object, **__: object) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.setattr("torch.hub.urlopen", no_network)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def sampled(tmp_path: Path) -> Params:
    """A project of one entry with ten samples, and of data with four test images."""
    scoring = protocol(samples=10, sample_chunk=10, references=3)
    block = Entry("made", "made", "mnist", 0, {}, {}, {}, {})
    params = Params(
        tmp_path,
        "quick",
        {"made": block},
        ("mnist",),
        ("class_shares",),
        scoring,
        Compute(threads=1),
    )
    write_npz(
        Layout.of(params).data("mnist"),
        {
            f"{split}_{axis}": array
            for split in ("train", "test")
            for axis, array in (("x", images(4)[:, 0].numpy()), ("y", np.zeros(4, np.uint8)))
        }
        | EXCERPT,
    )
    write_npz(Layout.of(params).run_dir("made").samples, {"images": images(10)[:, 0].numpy()})
    call_stage("features", params, "mnist")
    return params


class Malice:
    """An object whose unpickling makes a folder."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.trace),)


def malicious(path: Path, trace: Path) -> Path:
    """A weights file that makes the folder ``trace`` when it is unpickled."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"fc.weight": Malice(trace)}, path)
    return path


# ---------------------------------------------------------------------- features and scores


def test_features_come_from_the_given_weights(weights: Path) -> None:
    x = images(3, levels=2)
    net = load_inception(checked_weights(weights, accepted=sha256(weights)))
    values, logits = inception_features(x, 2, net)
    assert (values.shape, logits.shape, values.dtype) == ((3, 2048), (3, 1008), torch.float32)
    assert isinstance(net.fc, nn.Linear)
    assert torch.equal(net.fc.weight, torch.load(weights, weights_only=True)["fc.weight"])
    torch.testing.assert_close(logits, values @ net.fc.weight.T)
    white = (x * 255).repeat(1, 3, 1, 1)
    torch.testing.assert_close(net(white)[0], values)


def test_scores_are_added_on_request_and_name_their_weights(sampled: Params, weights: Path) -> None:
    accepting = replace(
        sampled, protocol=replace(sampled.protocol, inception_sha256=sha256(weights))
    )
    call_stage("score_samples", accepting, "made", inception_weights=weights)
    record = read_record(Layout.of(sampled).run_dir("made").quality)
    assert set(record.metrics) == {"min_class_share", "fid_inception", "is_inception"}
    fid = record.metrics["fid_inception"]
    assert (fid.n, fid.detail["reference_n"]) == (10, 3), (
        "as many test images as the protocol says, of four"
    )
    assert record.made_from["inception"] == sha256(weights)
    call_stage("score_samples", sampled, "made")
    assert "inception" not in read_json(Layout.of(sampled).run_dir("made").quality)["made_from"]


@pytest.mark.parametrize("made", [False, True])
def test_refused_weights_leave_the_record_as_it_was(
    sampled: Params, tmp_path: Path, weights: Path, made: bool
) -> None:
    call_stage("score_samples", sampled, "made")
    before = Layout.of(sampled).run_dir("made").quality.read_bytes()
    with pytest.raises(UserError, match="--inception-weights"):
        call_stage(
            "score_samples",
            sampled,
            "made",
            inception_weights=weights if made else tmp_path / "absent.pth",
        )
    assert Layout.of(sampled).run_dir("made").quality.read_bytes() == before


# ---------------------------------------------------------------------- which files are loaded


def test_a_malicious_file_given_by_its_path_is_refused_and_not_run(tmp_path: Path) -> None:
    path = malicious(tmp_path / "weights.pth", tmp_path / "trace")
    with pytest.raises(
        UserError,
        match=(
            rf"weights\.pth is not the published weights file.*{sha256(path)}.*95,628,359 "
            rf"bytes.*6726825d"
        ),
    ):
        checked_weights(path)
    assert not (tmp_path / "trace").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "trace").is_dir(), (
        "the file does nothing even when it is unpickled, so this test shows nothing"
    )


def test_a_malicious_file_in_the_cache_is_refused_and_not_run(
    sampled: Params, hub: Path, tmp_path: Path
) -> None:
    malicious(hub / NAME, tmp_path / "trace")
    with pytest.raises(UserError, match=rf"{NAME} is not the published weights file"):
        call_stage("score_samples", sampled, "made", inception=True)
    assert not (tmp_path / "trace").exists()


def test_a_malicious_file_that_params_name_is_not_run_either(tmp_path: Path) -> None:
    path = malicious(tmp_path / "weights.pth", tmp_path / "trace")
    named = checked_weights(path, accepted=sha256(path))
    with pytest.raises(UserError, match=r"weights\.pth holds no weights .*or more than weights"):
        load_inception(named)
    assert not (tmp_path / "trace").exists()


def test_the_bytes_that_were_checked_are_those_that_are_loaded(
    weights: Path, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(weights.read_bytes())
    named = checked_weights(path, accepted=sha256(path))
    malicious(path, tmp_path / "trace")
    load_inception(named)
    assert not (tmp_path / "trace").exists()


def test_the_published_file_goes_to_torch_fidelity_byte_by_byte(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its bytes are not at hand: others stand for them, whose hash is declared the published
    one.
    """
    seen: list[bytes] = []
    name = "torch_fidelity.feature_extractor_inceptionv3.FeatureExtractorInceptionV3"
    monkeypatch.setattr(
        name,
        lambda *_, feature_extractor_weights_path: (
            seen.append(feature_extractor_weights_path.read()) or nn.Identity()
        ),
    )
    (tmp_path / "weights.pth").write_bytes(b"content")
    monkeypatch.setattr(inception, "PUBLISHED_SHA256", sha256(b"content"))
    load_inception(checked_weights(tmp_path / "weights.pth"))
    assert seen == [b"content"]


@pytest.mark.parametrize("change", [b"", b"x", None])
def test_one_byte_makes_another_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: bytes | None
) -> None:
    monkeypatch.setattr(inception, "PUBLISHED_SHA256", sha256(b"content"))
    (tmp_path / "weights.pth").write_bytes(b"conten" if change is None else b"content" + change)
    if change == b"":
        assert checked_weights(tmp_path / "weights.pth").data == b"content"
    else:
        with pytest.raises(UserError, match="is not the published"):
            checked_weights(tmp_path / "weights.pth")


def test_a_file_without_end_is_not_read_into_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(inception, "_LARGEST", 10)
    (tmp_path / "weights.pth").write_bytes(bytes(11))
    with pytest.raises(UserError, match=r"weights\.pth is larger than 10 bytes"):
        checked_weights(tmp_path / "weights.pth")


@pytest.mark.parametrize(
    "content", [{"weight": torch.zeros(2)}, [torch.zeros(2)], {"fc.weight": "text"}]
)
def test_a_named_file_without_the_networks_tensors_is_no_weights_file(
    tmp_path: Path, content: object
) -> None:
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(
        UserError,
        match=(
            r"(?s)other\.pth holds no weights of torch-fidelity's Inception "
            r"network.*--inception-weights"
        ),
    ):
        load_inception(InceptionWeights(path, path.read_bytes(), sha256(path)))


@pytest.mark.parametrize("content", [None, b"<html>not found</html>"])
def test_a_bad_path_names_file_address_and_option(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "some.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(
        UserError,
        match=r"(?s)some\.pth.*https://github\.com/toshas/torch-fidelity/releases/.*\.pth.*--inception-weights",
    ):
        checked_weights(path)


# ---------------------------------------------------------------------- the download


def test_offline_names_file_address_and_option(hub: Path) -> None:
    with pytest.raises(
        UserError,
        match=(
            rf"(?s)cannot download .*{hub}.*Name or service not "
            rf"known.*https://github\.com.*--inception-weights"
        ),
    ):
        checked_weights()


class Answer:
    """What an address answers."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def info(self) -> Answer:
        return self

    def get_all(self, name: str) -> list[str]:
        return [str(len(self.content))]

    def read(self, size: int) -> bytes:
        content, self.content = self.content[:size], self.content[size:]
        return content


def test_a_download_of_other_bytes_is_refused_and_not_kept(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = malicious(tmp_path / "evil.pth", tmp_path / "trace").read_bytes()
    monkeypatch.setattr("torch.hub.urlopen", lambda *_: Answer(content))
    with pytest.raises(UserError, match=r"cannot download .*invalid hash"):
        checked_weights()
    assert list(hub.iterdir()) == []
    assert not (tmp_path / "trace").exists()


def test_a_download_of_the_published_bytes_is_kept_and_used(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inception, "PUBLISHED_SHA256", sha256(b"content"))
    monkeypatch.setattr("torch.hub.urlopen", lambda *_: Answer(b"content"))
    assert checked_weights() == InceptionWeights(hub / NAME, b"content", sha256(b"content"))
    assert [path.name for path in hub.iterdir()] == [NAME]


def test_a_full_disk_is_no_missing_network(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.hub.download_url_to_file", full)
    with pytest.raises(OSError, match=rf"cannot write {hub / NAME}: the disk is full"):
        checked_weights()


# ---------------------------------------------------------------------- params.yaml


@pytest.mark.parametrize(
    ("value", "good"),
    [("a" * 64, True), (None, True), ("A" * 64, False), ("abc", False), (7, False)],
)
def test_the_accepted_hash_is_checked_when_params_are_loaded(
    project: Path, value: object, good: bool
) -> None:
    raw = yaml.safe_load((project / "params.yaml").read_text())
    raw["protocol"]["inception_sha256"] = value
    (project / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    if good:
        assert load_params("quick", root=project).protocol.inception_sha256 == value
    else:
        with pytest.raises(UserError, match=r"protocol\.inception_sha256: must be"):
            load_params("quick", root=project)
