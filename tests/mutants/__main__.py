"""Apply each patch of this folder to a copy of the project and run the tests that it names: one of
them must fail, and none may without it.

python -m tests.mutants [NAME ...] [--list | --check]
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]


@dataclass(frozen=True, slots=True)
class Mutant:
    """A patch, what it breaks, and the arguments of pytest that choose the tests which notice
    it.
    """

    patch: Path
    breaks: str
    tests: tuple[str, ...]


def read(patch: Path) -> Mutant:
    """The mutant of a patch file; ValueError if its head lacks a line."""
    head = dict(
        line.split(": ", 1)
        for line in patch.read_text(encoding="utf-8").splitlines()[:2]
        if ": " in line
    )
    if set(head) != {"Breaks", "Tests"}:
        raise ValueError(f"{patch}: must begin with a line 'Breaks: ...' and a line 'Tests: ...'")
    return Mutant(patch, head["Breaks"], tuple(shlex.split(head["Tests"])))


def copied(folder: str) -> Path:
    """A copy of the project's files, those not yet committed too."""
    names = subprocess.check_output(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT
    )
    copy = Path(folder) / "project"
    for name in os.fsdecode(names).split("\0"):
        if name and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    return copy


def passes(project: Path, tests: Sequence[str]) -> bool:
    """Whether tests pass in ``project``; SystemExit if they cannot be run."""
    environment = os.environ | {"PYTHONPATH": str(project)}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 1):  # e.g. no test of that name
        raise SystemExit(f"{shlex.join(tests)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 0


def outcomes(mutants: Sequence[Mutant]) -> Iterator[tuple[Mutant, str]]:
    """``noticed``, ``survived``, ``does not apply`` or ``tests fail without it`` for each
    mutant.
    """
    with tempfile.TemporaryDirectory() as folder:
        project = copied(folder)
        sound: dict[tuple[str, ...], bool] = {}
        for mutant in mutants:
            if mutant.tests not in sound:
                sound[mutant.tests] = passes(project, mutant.tests)
            if not sound[mutant.tests]:
                yield mutant, "tests fail without it"
                continue
            apply = ["git", "apply", str(mutant.patch)]
            if subprocess.run(apply, cwd=project, check=False).returncode != 0:
                yield mutant, "does not apply"
                continue
            yield mutant, "survived" if passes(project, mutant.tests) else "noticed"
            subprocess.run([*apply, "--reverse"], cwd=project, check=True)


def applies(mutant: Mutant) -> bool:
    """Whether the patch still fits the sources."""
    check = ["git", "apply", "--check", str(mutant.patch)]
    return subprocess.run(check, cwd=ROOT, capture_output=True, check=False).returncode == 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print a line for each, and return 1 unless all were noticed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=["*"], help="names or wildcards")
    parser.add_argument(
        "--list", action="store_true", help="print what each of them breaks, and run nothing"
    )
    parser.add_argument(
        "--check", action="store_true", help="name those that no longer apply, and run nothing"
    )
    options = parser.parse_args(arguments)
    mutants = [
        read(path)
        for path in sorted(FOLDER.glob("*.patch"))
        if any(fnmatch.fnmatch(path.stem, name) for name in options.names)
    ]
    if not mutants:
        raise SystemExit(f"no patch in {FOLDER} is called {' or '.join(options.names)}")
    if options.list:
        for mutant in mutants:
            print(f"{mutant.patch.stem}: {mutant.breaks}")
        return 0
    if options.check:
        broken = [mutant.patch.stem for mutant in mutants if not applies(mutant)]
        print("\n".join(broken) or f"all {len(mutants)} apply")
        return 1 if broken else 0
    noticed = 0
    for mutant, outcome in outcomes(mutants):
        noticed += outcome == "noticed"
        print(f"{mutant.patch.stem}: {outcome}", flush=True)
    print(f"{noticed} of {len(mutants)} noticed")
    return 0 if noticed == len(mutants) else 1


if __name__ == "__main__":
    sys.exit(main())
