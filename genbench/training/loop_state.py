"""What a training goes on from: the model, its phases, and where the loop is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from genbench.base import GenerativeModel
from genbench.training.history import Clock
from genbench.training.phase_state import PhaseState

__all__ = ["TrainingState"]


@dataclass(slots=True)
class TrainingState:
    """All that changes while a model is trained.

    Attributes:
        model: with the weights of the last step.
        phases: in the model's order.
        clock: where the loop is.
    """

    model: GenerativeModel
    phases: Sequence[PhaseState]
    clock: Clock = field(default_factory=Clock)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds; the tensors are those in use, not copies."""
        return {
            "model": self.model.state_dict(),
            "phases": [phase.state_dict() for phase in self.phases],
            "clock": {f.name: getattr(self.clock, f.name) for f in fields(self.clock)},
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from a :meth:`state_dict`."""
        self.model.load_state_dict(saved["model"])
        for phase, state in zip(self.phases, saved["phases"], strict=True):
            phase.load_state_dict(state)
        self.clock = Clock(**saved["clock"])
