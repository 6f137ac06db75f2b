"""A small dvc.lock and the committed one, and whether DVC can read what is left of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from dvc.utils.serialize import parse_yaml

__all__ = ["COMMITTED", "REPOSITORY", "SMALL", "dvc_reads", "finished", "project", "stages_of"]


REPOSITORY = Path(__file__).resolve().parents[1]


COMMITTED = (REPOSITORY / "dvc.lock").read_bytes()


SMALL = b"""\
schema: '2.0'
stages:
  code:
    cmd: genbench fingerprints --profile quick
    deps:
    - path: genbench
      hash: md5
      md5: c1fc013f063851451c58a7ea203f92bf.dir
      size: 1284977
      nfiles: 130
    params:
      params.yaml:
        entries:
          made:
            note: 'a text that is so long that it goes on in the next line: because of its
              colon it stands in quotes'
    outs:
    - path: runs/quick/code
      hash: md5
      md5: 25bd5dfd929baf0f4bbfd91b1421b8b5.dir
      size: 2374
      nfiles: 3
  train@made:
    cmd: genbench train made --profile quick
    deps:
    - path: runs/quick/fingerprints/made/train.json
      hash: md5
      md5: 28b206a8a9f16075ba7f2734ad195188
      size: 1437832
    outs:
    - path: runs/quick/made/weights.safetensors
      hash: md5
      md5: '11111111111111111111111111111111'
      size: 54880758
"""


def dvc_reads(content: bytes) -> bool:
    """Whether DVC can read a dvc.lock, by DVC."""
    try:
        COMPILED_LOCKFILE_SCHEMA(parse_yaml(content.decode(), "dvc.lock"))
    except Exception:
        return False
    return True


def finished(content: bytes) -> bool:
    """Whether DVC can read a dvc.lock, and its end is one that DVC can have made: an output with
    its size.
    """
    if not dvc_reads(content) or not content.endswith(b"\n"):
        return False
    stages = stages_of(content) if b"stages:" in content else []
    return bool(stages) and "size" in (stages[-1][1].get("outs") or [{}])[-1]


def stages_of(content: bytes) -> list[tuple[str, Any]]:
    return list(yaml.safe_load(content)["stages"].items())


def project(root: Path) -> Path:
    """A folder that has what these functions look at."""
    (root / ".dvc" / "tmp").mkdir(parents=True)
    for profile in ("smoke", "full"):
        (root / "profiles" / profile).mkdir(parents=True)
        (root / "profiles" / profile / "params.yaml").touch()
    return root
