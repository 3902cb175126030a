"""Which parameter is trained by which optimiser.

The weights of convolutions go to Muon (Jordan et al., "Muon: An optimizer for hidden layers in
neural networks", 2024): its update has a singular value of one in every direction, so weak inputs,
such as the finer contexts of a prior or the fine detail of a picture, learn as fast as strong ones.
Biases and the logarithmic weights of explicit terms go to Adam.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pliant.errors import MissingError
from pliant.layers.exact import ExactConv2d, ExactLayer, SpreadConv2d, project
from pliant.layers.invertible import InvertibleConv
from pliant.training.centring import Centring

_CONVOLUTIONS = (ExactConv2d, InvertibleConv, nn.Conv2d, nn.ConvTranspose2d)


class Optimiser:
    """Muon for the matrices of `module`, Adam for its other parameters.

    Args:
        module: on its device already; all its parameters are trained.
        learning_rate: of Adam.
        matrix_learning_rate: of Muon, scaled so that an entry moves as far as with Adam at about a
            fifth of this rate.
        clip: largest norm of a tensor's gradient, as a multiple of its own running mean.

    Raises:
        MissingError: this torch has no Muon.
    """

    def __init__(
        self, module: nn.Module, learning_rate: float, matrix_learning_rate: float, clip: float
    ) -> None:
        try:
            from torch.optim import Muon
        except ImportError as error:
            raise MissingError("training needs torch 2.9 or newer") from error
        self._module, self._limit = module, clip
        self._centring = [Centring(m) for m in module.modules() if isinstance(m, ExactLayer)]
        self._usual: Tensor | None = None  # running mean of the norm of each tensor's gradient
        matrices = [
            m.weight
            for m in module.modules()
            if isinstance(m, _CONVOLUTIONS) and not isinstance(m, SpreadConv2d)
        ]
        chosen = {id(weight) for weight in matrices}
        others = [p for p in module.parameters() if id(p) not in chosen]
        # Muon takes matrices alone: views of the kernels, one row for each output channel (of
        # transposed ones: each input channel)
        self._views = [(w, nn.Parameter(w.detach().flatten(1))) for w in matrices]
        self._adam = torch.optim.Adam(others, lr=learning_rate, betas=(0.9, 0.99), fused=True)
        self._parts: list[torch.optim.Optimizer] = [self._adam]
        if matrices:
            self._parts.append(
                Muon(
                    [view for _, view in self._views],
                    lr=matrix_learning_rate,
                    weight_decay=0.0,
                    adjust_lr_fn="match_rms_adamw",
                )
            )
        self._rates = [[group["lr"] for group in part.param_groups] for part in self._parts]

    def clip(self) -> Tensor:
        """Clips the gradient of each tensor on its own; returns the norm of all of them before.

        A rare symbol that was thought impossible has a gradient a hundred times larger than usual;
        it would become a step for every weight. Does not wait for the device.
        """
        gradients = [p.grad for p in self._module.parameters() if p.grad is not None]
        norms = torch.stack([torch.linalg.vector_norm(g) for g in gradients])
        usual = norms.nan_to_num(1.0, 1.0) if self._usual is None else self._usual
        limits = self._limit * usual
        for gradient, factor in zip(
            gradients, (limits / (norms + 1e-12)).clamp(max=1.0), strict=True
        ):
            gradient.mul_(factor)
        clipped = torch.minimum(norms, limits)
        self._usual = torch.where(norms.isfinite(), usual.lerp(clipped, 0.02), usual)
        total: Tensor = torch.linalg.vector_norm(norms)
        return total

    def step(self, share: float) -> None:
        """One update with `share` of the learning rates; weights stay within their grids."""
        for layer in self._centring:
            layer.before_step()
        for weight, view in self._views:
            view.grad = None if weight.grad is None else weight.grad.flatten(1)
        for part, rates in zip(self._parts, self._rates, strict=True):
            for group, rate in zip(part.param_groups, rates, strict=True):
                group["lr"] = rate * share
            part.step()
        # fused optimisers, and those of views, do not tell; values made from weights are kept
        torch.autograd.graph.increment_version(list(self._module.parameters()))
        project(self._module)
        for layer in self._centring:
            layer.after_step()

    def state(self) -> dict[str, Any]:
        """What an exact resume needs."""
        return {
            "parts": [part.state_dict() for part in self._parts],
            "centring": [layer.state() for layer in self._centring],
            "usual": self._usual,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""
        for part, saved in zip(self._parts, state["parts"], strict=True):
            part.load_state_dict(saved)
        for layer, saved in zip(self._centring, state["centring"], strict=True):
            layer.load(saved)
        usual = state["usual"]
        self._usual = None if usual is None else usual.to(next(self._module.parameters()).device)
