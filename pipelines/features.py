"""Stage ``features@dataset``: test images in, reference features out; and the command that makes
the feature net itself.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from genbench.config.params import Params
from genbench.data import splits
from genbench.data.datasets import spec_of
from genbench.files import sha256, write_bytes, write_json, write_npz
from genbench.hardware import device
from genbench.scoring import features

__all__ = ["retrain", "run"]


def run(params: Params, dataset: str) -> None:
    """Write the reference features of a data set's test split.

    Raises:
        FileNotFoundError, UserError: no prepared data, or corrupt; names the file.
    """
    x, _ = splits.load_split(params.data(dataset), dataset, "test")
    x = features.reference_images(x, params.protocol.feature_reference_images)
    place = device.setup(params.compute)
    values, logits = features.extract(x, spec_of(dataset).levels, device=place)
    write_npz(params.features(dataset), {"features": values.numpy(), "logits": logits.numpy()})


def retrain(params: Params, *, seed: int = 0) -> dict[str, Any]:
    """Train the feature net anew and compare it with the shipped one, which stays as it is.

    Writes ``feature_net.safetensors`` and ``feature_net.json`` into the folder of the reference
    features, and prints the accuracies. Training uses the training split, the choice of the epoch
    the validation split; the test split serves the report alone.

    Arguments:
        params: the profile; its ``mnist`` must be prepared, its ``binary_mnist`` is used if it is.
        seed: of the training; 0 is the shipped net's.

    Returns:
        per net (``shipped``, ``retrained``) the test accuracies by data set, and the retrained
        weights' SHA-256.
    """
    import safetensors.torch

    from genbench.scoring.feature_training import test_accuracies, train_feature_net

    device.setup(params.compute)
    mnist = splits.load(params.data("mnist"), "mnist")
    path = params.data("binary_mnist")
    binary, _ = splits.load_split(path, "binary_mnist", "test") if path.is_file() else (None, None)
    trained = train_feature_net(mnist, seed=seed)
    weights = safetensors.torch.save(trained.net.state_dict())
    nets = {"shipped": features.load_net(), "retrained": trained.net}
    report: dict[str, Any] = {
        name: {k: asdict(v) for k, v in test_accuracies(net, mnist, binary).items()}
        for name, net in nets.items()
    }
    report |= {"epoch": trained.epoch, "seed": seed, "sha256": sha256(weights)}
    folder = params.runs / "features"
    write_bytes(folder / "feature_net.safetensors", weights)
    write_json(folder / "feature_net.json", report)
    for name in nets:
        print(
            f"{name}: "
            + ", ".join(
                f"{key} test accuracy {value['accuracy']:.4f}"
                for key, value in report[name].items()
            )
        )
    print(f"{folder / 'feature_net.safetensors'}: SHA-256 {report['sha256']}")
    return report
