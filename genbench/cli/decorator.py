"""What each command does besides its own work: it is registered with its examples, its errors
become a line and an exit code, and ``--device`` and ``--threads`` go to the environment.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable

import typer

from genbench.data.mirror import pin_mirror
from genbench.disk import told

__all__ = ["command", "renamed", "set_isa_of"]

_ENVIRONMENT = {"device": "GENBENCH_DEVICE", "threads": "GENBENCH_THREADS"}
"""Options that reach the configuration by the environment, which the processes that DVC starts
inherit; a command only declares them.
"""


def command(
    app: typer.Typer,
    *examples: str,
    name: str | None = None,
    hidden: bool = False,
    resumes: bool = False,
    except_with: str | None = None,
) -> Callable[[Callable[..., int | None]], Callable[..., None]]:
    """Make a function a command; it imports inside what it calls.

    Errors that say how to mend become one line on standard error and exit code 1; an int that the
    function returns is the exit code. GENBENCH_DEBUG=1 keeps the traceback.

    Arguments:
        app: the group that it belongs to.
        examples: lines below its help.
        name: on the command line; None takes the function's.
        hidden: left out of the list of commands.
        resumes: whether the same command goes on where this one was interrupted.
        except_with: an option with which it does not.
    """

    def register(function: Callable[..., int | None]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(**options: object) -> None:
            for option, variable in _ENVIRONMENT.items():
                if options.get(option) is not None:
                    os.environ[variable] = str(options[option])
            try:
                pin_mirror()
                code = function(**options)
            except KeyboardInterrupt:
                goes_on = resumes and (except_with is None or options[except_with] is None)
                hint = ": the same command goes on from the last checkpoint" if goes_on else ""
                print(f"\ninterrupted{hint}", file=sys.stderr)
                raise typer.Exit(130) from None
            except (BrokenPipeError, typer.Exit, typer.Abort):
                raise
            except (ValueError, OSError, FloatingPointError, RuntimeError) as error:
                if os.environ.get("GENBENCH_DEBUG") == "1":
                    raise
                print(f"error: {told(error)}", file=sys.stderr)
                raise typer.Exit(1) from None
            if code:
                raise typer.Exit(code)

        app.command(name, hidden=hidden, epilog=_epilog(examples))(run)
        return run

    return register


def _epilog(examples: tuple[str, ...]) -> str | None:
    # Typer wraps the epilog as one paragraph unless a \b line stands before it.
    lines = ["\b\nExamples:", *(f"  {line}" for line in examples)]
    return "\n".join(lines) if examples else None


def renamed(app: typer.Typer, former: str, name: str) -> None:
    """Keep a former command, hidden, to say what it is called now, whatever arguments it is
    given.
    """

    def refuse() -> None:
        typer.echo(f"error: `genbench {former}` is called `genbench {name}` now", err=True)
        raise typer.Exit(2)

    refuse.__doc__ = f"Called `genbench {name}` now."
    anything = {"ignore_unknown_options": True, "allow_extra_args": True}
    app.command(former, hidden=True, context_settings=anything)(refuse)


def set_isa_of(profile: str) -> None:
    """Hold this process to ``compute.isa`` of a profile, for commands that import torch themselves:
    it chooses its instructions then. The stages set it by themselves.
    """
    from genbench.config.load import load_params
    from genbench.hardware.isa import set_isa

    compute = load_params(profile).compute
    set_isa(compute.isa, compute.device)
