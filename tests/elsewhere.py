"""A launcher of other "machines": processes that import the package of a clone, and get nothing but
a pickled task; and the program that runs a project's entries by it.

    python -m tests.elsewhere CLONES CLONE...    # in the project

runs the profile `quick`, entry after entry in the clones by turns; CLONES is what `--clones` is
given. GENBENCH_TEST_ELSEWHERE may hold Python that each process runs at its beginning.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Generator, Sequence
from pathlib import Path

from genbench.launchers.base import Change, State, Task

START = """
import os, pickle, sys
answers = os.fdopen(os.dup(1), "wb")
exec(os.environ.get("GENBENCH_TEST_ELSEWHERE", ""))
task = pickle.load(sys.stdin.buffer)
from genbench.launchers.base import call
answers.write(pickle.dumps(call(task)))
answers.close()
"""


class Elsewhere:
    """Runs one task after another, each in the next of the clones."""

    where, at_once, has_left = "elsewhere", 1, False

    def __init__(self, clones: Sequence[Path]) -> None:
        self.clones = clones

    def withdraw(self, keys: Sequence[str]) -> None:
        pass

    def launch(self, tasks: Sequence[Task]) -> Generator[list[Change]]:
        for number, task in enumerate(tasks):
            clone = self.clones[number % len(self.clones)]
            env = os.environ | {"PYTHONPATH": str(clone), "CLONE": str(clone)}
            started = subprocess.Popen(
                [sys.executable, "-c", START],
                cwd="/",
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
            yield [Change(task, State.RUNNING, str(clone))]
            said, _ = started.communicate(pickle.dumps(task))
            if started.returncode == 0:
                code, result = pickle.loads(said)
                state = State.FINISHED if code == 0 else State.FAILED
                yield [Change(task, state, str(clone), code=code, result=result)]
            else:
                yield [Change(task, State.FAILED, str(clone), code=started.returncode)]


def main() -> int:
    from genbench.pipeline.run import run_pipeline

    place, *clones = sys.argv[1:]
    launcher = Elsewhere([Path(clone) for clone in clones])
    return run_pipeline("quick", launcher=lambda params: launcher, clones=place)


if __name__ == "__main__":
    sys.exit(main())
