"""Stage ``features``: test and training images in, reference features out; and the command that
makes the feature net itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from genbench.config.params import Params
from genbench.data import splits
from genbench.data.datasets import spec_of
from genbench.files import sha256, write_bytes, write_json, write_npz
from genbench.hardware import device
from genbench.scoring.features import extract, load_net, reference_images

__all__ = ["retrain", "run"]


def run(params: Params, dataset: str, *, data: Path, features: Path) -> None:
    """Write the reference features of a data set: of its test split, and of as many training
    images, both evenly spread.

    Arguments:
        params: the profile.
        dataset: name of the data set.
        data: read: its arrays.
        features: written: features, the logits of the feature net, and labels where there are
            some; of training images the features and labels.

    Raises:
        FileNotFoundError, UserError: no prepared data, or corrupt; names the file.
    """
    n, levels = params.protocol.feature_reference_images, spec_of(dataset).levels
    x, y = splits.load_split(data, dataset, "test")
    seen, seen_y = splits.load_split(data, dataset, "train")
    place = device.setup(params.compute)
    values, logits = extract(reference_images(x, n), levels, device=place)
    seen_values, _ = extract(reference_images(seen, n), levels, device=place)
    arrays = {"features": values, "logits": logits, "train_features": seen_values}
    for name, labels in (("labels", y), ("train_labels", seen_y)):
        if labels is not None:
            arrays[name] = reference_images(labels, n)
    write_npz(features, {name: array.numpy() for name, array in arrays.items()})


def retrain(
    params: Params, *, data: Callable[[str], Path], folder: Path, seed: int = 0
) -> dict[str, Any]:
    """Train the feature net anew and compare it with the shipped one, which stays as it is.

    Writes ``feature_net.safetensors`` and ``feature_net.json``, and prints the accuracies. Training
    uses the training split, the choice of the epoch the validation split; the test split serves the
    report alone.

    Arguments:
        params: the profile.
        data: where the prepared arrays of a data set are: ``mnist``, and ``binary_mnist``, which is
            looked at if it is there.
        folder: where the files are written.
        seed: of the training; 0 is the shipped net's.

    Returns:
        per net (``shipped``, ``retrained``) the test accuracies by data set, and the retrained
        weights' SHA-256.
    """
    import safetensors.torch

    from genbench.scoring.feature_training import test_accuracies, train_feature_net

    device.setup(params.compute)
    digits, binary = splits.load(data("mnist"), "mnist"), None
    if data("binary_mnist").is_file():
        binary, _ = splits.load_split(data("binary_mnist"), "binary_mnist", "test")
    trained = train_feature_net(digits, seed=seed)
    weights = safetensors.torch.save(trained.net.state_dict())
    nets = {"shipped": load_net(), "retrained": trained.net}
    report: dict[str, Any] = {}
    for name, net in nets.items():
        found = test_accuracies(net, digits, binary)
        report[name] = {dataset: asdict(accuracy) for dataset, accuracy in found.items()}
        told = [f"{key} test accuracy {one['accuracy']:.4f}" for key, one in report[name].items()]
        print(f"{name}: {', '.join(told)}")
    report |= {"epoch": trained.epoch, "seed": seed, "sha256": sha256(weights)}
    write_bytes(folder / "feature_net.safetensors", weights)
    write_json(folder / "feature_net.json", report)
    print(f"{folder / 'feature_net.safetensors'}: SHA-256 {report['sha256']}")
    return report
