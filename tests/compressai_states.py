"""States as CompressAI saves them: of our models by name, and of its own networks."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from pliant.evaluation.codecs import peers
from pliant.models.base import ImageModel

State = dict[str, Tensor]

# Names of CompressAI 1.2.8 from ours, in this order: written down from its networks, not from the
# table that is tested.
THEIR_NAMES = (
    (r"^prior\.density\.", "entropy_bottleneck."),
    (r"^prior\.context\.", "context_prediction."),
    (r"^prior\.first\.", "entropy_parameters.0."),
    (r"^prior\.second\.", "entropy_parameters.2."),
    (r"^prior\.third\.", "entropy_parameters.4."),
    (r"^prior\.synthesis\.", "h_s."),
    (r"^transform\.hyper\.", "h_a."),
    (r"^transform\.encoder\.", "g_a."),
    (r"^transform\.decoder\.", "g_s."),
    (r"\.features\.(\d)\.0\.path\.", r".conv_a.\1.conv."),
    (r"\.mask\.(\d)\.0\.path\.", r".conv_b.\1.conv."),
    (r"\.mask\.3\.", ".conv_b.3."),
    (r"^(g_s.*)\.path\.0\.0\.", r"\1.subpel_conv.0."),
    (r"^(g_s.*)\.shortcut\.", r"\1.upsample."),
    (r"^(g_a.*)\.shortcut\.", r"\1.skip."),
    (r"^(g_a.*)\.path\.3\.", r"\1.gdn."),
    (r"^(g_s.*)\.path\.3\.", r"\1.igdn."),
    (r"\.path\.0\.", ".conv1."),
    (r"\.path\.2\.", ".conv2."),
)


def theirs(name: str, model: ImageModel) -> State:
    """The state that CompressAI would save of this model, derived values included."""
    state: State = {"entropy_bottleneck.target": torch.zeros(3)}
    growing = {f"g_s.{key.split('.')[2]}" for key in model.state_dict() if ".path.0.0." in key}
    for key, value in model.state_dict().items():
        for pattern, replacement in THEIR_NAMES:
            key = re.sub(pattern, replacement, key)
        if name.startswith("cheng"):
            last = "g_s.9" if "attention" in name else "g_s.7"
            key = re.sub(rf"^{last}\.(weight|bias)", rf"{last}.0.\1", key)
            if key.partition(".conv2.")[0] in growing:
                key = key.replace(".conv2.", ".conv.")
        if name == "scale hyperprior":
            key = re.sub(r"^h_a\.(\d)", lambda m: f"h_a.{int(m[1]) - 1}", key)
        state[key] = value
        if key.endswith(("beta", "gamma")):
            state[f"{key}_reparam.pedestal"] = torch.tensor([2.0**-36])
    if "h_s.0.weight" in state:
        state["gaussian_conditional.scale_bound"] = torch.tensor([0.11])
        state["gaussian_conditional.scale_table"] = torch.ones(64)
        state["gaussian_conditional._quantized_cdf"] = torch.zeros(64, 9, dtype=torch.int32)
    if "context_prediction.weight" in state:
        state["context_prediction.mask"] = torch.ones_like(state["context_prediction.weight"])
    return state


def old(state: State) -> State:
    """The same with the names of older releases."""
    result = {}
    for key, value in state.items():
        key = key.replace(".skip.", ".downsample.")
        for kind in ("matrices", "biases", "factors"):
            key = key.replace(f"entropy_bottleneck.{kind}", f"entropy_bottleneck._{kind}")
        result[f"module.{key}"] = value
    return result


def middle(state: State) -> State:
    """The same with the names of releases between."""
    result = {}
    for key, value in state.items():
        for kind, short in (("matrices", "matrix"), ("biases", "bias"), ("factors", "factor")):
            key = key.replace(f"entropy_bottleneck.{kind}.", f"entropy_bottleneck._{short}")
        result[key] = value
    return result


def foreign(architecture: str, image: Tensor) -> Any:
    """A small network of CompressAI, its weights random: latents of some steps, other medians."""
    zoo = peers.import_zoo()
    from compressai.models.google import FactorizedPriorReLU

    torch.manual_seed(0)
    relu = architecture.endswith("relu")
    kind = FactorizedPriorReLU if relu else zoo.model_architectures[architecture]
    network = kind(16) if architecture.startswith("cheng") else kind(12, 20)
    last = [layer for layer in network.g_a if isinstance(layer, torch.nn.Conv2d)][-1]
    scales = getattr(network, "entropy_parameters", getattr(network, "h_s", None))
    with torch.no_grad():
        last.weight.mul_(4 / network.g_a(image).std())
        if scales is not None:  # those come first, then means
            head: Any = [m for m in scales.modules() if isinstance(m, torch.nn.Conv2d)][-1]
            head.bias[: network.M] += 4
        for key, parameter in network.entropy_bottleneck.named_parameters():
            if "factor" in key:
                parameter.normal_(0, 0.3)
        network.entropy_bottleneck.quantiles[:, :, 1].normal_(0, 0.3)
    network.update()
    return network.eval()
