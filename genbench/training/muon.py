"""Muon: the momentum of a matrix, made orthogonal, is its step.

Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024,
https://kellerjordan.github.io/posts/muon/; scaled as in Liu et al., "Muon is Scalable for LLM
Training", 2025, https://arxiv.org/abs/2502.16982, so that rates and weight decay of AdamW fit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Muon", "hidden_matrices", "orthogonal"]

WIDEST = 4096
"""Rows or columns: of larger matrices, such as the output of MADE, the products take longer than
the rest of the step."""


def hidden_matrices(model: nn.Module) -> set[nn.Parameter]:
    """The weights of linear, convolutional and recurrent layers, but not of embeddings, of layers
    that are called ``out``, which end in parameters of pixels or in logits, and of very wide ones.
    """
    found = set()
    for path, module in model.named_modules():
        if isinstance(module, nn.Embedding) or path.rpartition(".")[2] == "out":
            continue
        for name, weight in module.named_parameters(recurse=False):
            rows = weight.flatten(1) if weight.ndim > 1 else weight
            if (
                "weight" in name
                and rows.ndim == 2
                and 1 < min(rows.shape) <= max(rows.shape) <= WIDEST
            ):
                found.add(weight)
    return found


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, with decoupled weight decay. On matrices it takes the
    steps of ``torch.optim.Muon`` with ``adjust_lr_fn="match_rms_adamw"``; here convolutions are
    flattened to (channels out, all else), and matrices of one shape are made orthogonal at once.

    Arguments:
        params: of two dimensions or more.
        lr: as of AdamW; a step changes an entry of a matrix by 0.2 times that, roughly.
        momentum: decay rate of the momentum.
        weight_decay: decoupled weight decay.
        precision: of the products in :func:`orthogonal`.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        *,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        precision: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.precision = precision

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """One step from the gradients in place."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    by_shape.setdefault(p.flatten(1).shape, []).append(p)
            for params in by_shape.values():
                self._step_of_one_shape(params, group)

    def _step_of_one_shape(self, params: list[Tensor], group: Mapping[str, Any]) -> None:
        grads = [p.grad for p in params if p.grad is not None]  # all of them have one
        for p, grad in zip(params, grads, strict=True):
            if not self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(grad)
        buffers = [self.state[p]["momentum_buffer"] for p in params]
        torch._foreach_lerp_(buffers, grads, 1 - group["momentum"])
        updates = torch._foreach_lerp(grads, buffers, group["momentum"])
        steps = orthogonal(torch.stack([u.flatten(1) for u in updates]), self.precision)
        rate = group["lr"] * 0.2 * math.sqrt(max(steps.shape[1:]))
        torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
        shaped = [step.view(p.shape) for p, step in zip(params, steps, strict=True)]
        torch._foreach_add_(params, shaped, alpha=-rate)


def orthogonal(matrices: Tensor, precision: torch.dtype = torch.float32) -> Tensor:
    """Nearly the orthogonal factors U Vᵀ of matrices U S Vᵀ: singular values between 0.7 and 1.2,
    by five steps of a Newton–Schulz iteration whose coefficients are those of Jordan et al.

    Arguments:
        matrices: (n, rows, columns).
        precision: of the products.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).to(precision)
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp_min(1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)
