"""Calls what a command of the command line stands for, imported only then."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import typer

from genbench.data.mirror import pin_mirror
from genbench.disk import told

__all__ = ["call"]


def call(
    function: str,
    *args: object,
    device: str | None = None,
    threads: int | None = None,
    resumes: bool = False,
    isa_of: str | None = None,
    **options: object,
) -> Any:
    """Import ``module:name`` and call it; errors that say how to mend become one line, and an int
    that is not 0 the exit code.

    Arguments:
        function: ``module:name``.
        args: its arguments.
        device: for GENBENCH_DEVICE; it goes to the environment, because the processes that DVC
            starts inherit it.
        threads: for GENBENCH_THREADS.
        resumes: whether the same command goes on where this one was interrupted.
        isa_of: profile whose ``compute.isa`` must be set first, since the module imports torch.
        options: its keywords.
    """
    if device is not None:
        os.environ["GENBENCH_DEVICE"] = device
    if threads is not None:
        os.environ["GENBENCH_THREADS"] = str(threads)
    module, _, name = function.partition(":")
    try:
        pin_mirror()
        if isa_of is not None:
            from genbench.config.params import load_params
            from genbench.hardware.isa import set_isa

            compute = load_params(isa_of).compute
            set_isa(compute.isa, compute.device)
        result = getattr(importlib.import_module(module), name)(*args, **options)
    except KeyboardInterrupt:
        print(
            f"\ninterrupted{': the same command goes on from the last checkpoint' if resumes else ''}",
            file=sys.stderr,
        )
        raise typer.Exit(130) from None
    except BrokenPipeError:
        raise
    except (ValueError, OSError, FloatingPointError, RuntimeError) as error:
        if os.environ.get("GENBENCH_DEBUG") == "1":
            raise
        print(f"error: {told(error)}", file=sys.stderr)
        raise typer.Exit(1) from None
    if isinstance(result, int) and result != 0:
        raise typer.Exit(result)
    return result
