"""Which modules and buffers belong to which phase, so that a finished phase's part of the model
stands still while the others train.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from genbench.base import Phase

__all__ = ["buffers_of", "modules_of"]


def _owners(model: nn.Module, phases: Sequence[Phase]) -> dict[str, set[str]]:
    """Names of the phases behind each module: those of its parameters, or where it has none, those
    of the nearest module around it.
    """
    phase_of = {id(p): phase.name for phase in phases for p in phase.params}
    owners: dict[str, set[str]] = {}
    for name, module in model.named_modules():  # parents come before their children
        found = {phase_of[id(p)] for p in module.parameters() if id(p) in phase_of}
        owners[name] = found or owners.get(name.rpartition(".")[0], set())
    return owners


def modules_of(model: nn.Module, phases: Sequence[Phase], phase: Phase) -> list[nn.Module]:
    """The modules that belong to one phase alone."""
    owners = _owners(model, phases)
    return [module for name, module in model.named_modules() if owners[name] == {phase.name}]


def buffers_of(model: nn.Module, phases: Sequence[Phase], phase: Phase) -> dict[str, Tensor]:
    """The buffers that belong to a phase: those of its modules, and shared ones if no other phase
    is active at the same time.
    """
    owners = _owners(model, phases)
    alone = all(
        other is phase or other.span[1] <= phase.span[0] or phase.span[1] <= other.span[0]
        for other in phases
    )
    result = {}
    for name, buffer in model.named_buffers():
        behind = owners[name.rpartition(".")[0]]
        if behind == {phase.name} or (alone and phase.name in (behind or {phase.name})):
            result[name] = buffer
    return result
