"""Former names of modules are refused with the present one."""

from __future__ import annotations

import importlib
import importlib.util

import pytest

from genbench.families.autoregressive import Autoregressive
from genbench.former_names import FORMER


@pytest.mark.parametrize("former", sorted(FORMER))
def test_a_former_module_names_the_present_one(former: str) -> None:
    present = f"genbench.{FORMER[former]}"
    assert importlib.util.find_spec(present) is not None
    with pytest.raises(ImportError, match=rf"^genbench\.{former} is now {present} "):
        importlib.import_module(f"genbench.{former}")


def test_so_does_an_import_from_the_package() -> None:
    with pytest.raises(
        ImportError, match=r"genbench\.nn\.langevin is now genbench\.mcmc\.langevin "
    ):
        from genbench.nn import langevin  # type: ignore[attr-defined]  # noqa: F401


def test_what_never_was_is_not_found_as_ever() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("genbench.never_there")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("elsewhere.fit")


def test_a_former_method_of_a_family_names_the_present_one() -> None:
    with pytest.raises(TypeError, match="Older: the method block is now called 'images_at_once'"):

        class Older(Autoregressive):
            def block(self) -> int:
                return 3

    class Own(Autoregressive):
        def block(self, x: object) -> object:  # something of its own
            return x
