"""Where an autoencoder starts: at the principal components of photos, stage by stage.

Each stage of stride 2 takes blocks of 2 x 2 samples to their principal components; the decoder's
stage takes them back, so an untrained model is a linear transform codec with a sensible step.
From random weights it takes thousands of steps to learn as much.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pliant.layers.gdn import GDN
from pliant.transforms.autoencoder import MID_GREY, PEAK, Autoencoder

STAGE_GAIN = 0.5  # keeps the mean of a block as it is, where normalisation hardly acts
_BLOCK = slice(2, 4)  # of a 5x5 kernel of stride 2: the samples of the block itself


def applies(transform: object) -> bool:
    """Whether the transform has stages that pass small values on as they are."""
    return isinstance(transform, Autoencoder) and any(
        isinstance(layer, GDN) for layer in transform.encoder
    )


@torch.no_grad()
def start(transform: Autoencoder, image: Tensor, step: float) -> None:
    """Sets the weights of encoder and decoder; the hyper analysis stays as it is.

    Args:
        image: (B, 3, H, W) in 0..255, sizes multiples of 16; some dozens of crops.
        step: that one unit of y shall be worth, see `quantize.step_for`.
    """
    encoder = [layer for layer in transform.encoder if isinstance(layer, nn.Conv2d)]
    decoder = [x for x in transform.decoder if isinstance(x, nn.ConvTranspose2d)][::-1]
    x = image / PEAK - MID_GREY
    for number, (forward, back) in enumerate(zip(encoder, decoder, strict=True)):
        last = number == len(encoder) - 1
        scale = float(getattr(forward, "scale", 1.0))
        gain = PEAK / (step * STAGE_GAIN**number * scale) if last else STAGE_GAIN
        known = x.shape[1]
        blocks = _blocks(x)
        components = _components(blocks, forward.out_channels)
        found = len(components)
        kernels = components.view(found, known, 2, 2)
        forward.weight[:found] = 0
        forward.weight[:found, :known, _BLOCK, _BLOCK] = gain * kernels
        back.weight[:] = 0
        back.weight[:found, :known, _BLOCK, _BLOCK] = kernels / gain
        assert forward.bias is not None
        assert back.bias is not None
        forward.bias[:found] = 0
        if number:
            back.bias[:] = 0
        else:
            forward.bias[:found] = -MID_GREY * gain * kernels.sum((1, 2, 3))
            back.bias[:] = MID_GREY
        x = torch.einsum("nk,bkhw->bnhw", gain * components, blocks)


def _blocks(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, 4 C, H / 2, W / 2): by channel, row and column."""
    return nn.functional.pixel_unshuffle(x, 2)


def _components(blocks: Tensor, most: int) -> Tensor:
    """(n, C): the orthonormal directions of largest energy, at most so many."""
    rows = blocks.movedim(1, -1).flatten(0, -2).double()
    _, directions = torch.linalg.eigh(rows.T @ rows)
    components: Tensor = directions.flip(1)[:, :most].T.to(blocks)
    return components
