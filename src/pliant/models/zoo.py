"""The published base models in their published sizes, and small ones with exact priors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from pliant.layers.anchor_gains import ANCHOR_WEIGHTS, SMALL_ANCHOR_WEIGHTS
from pliant.models.base import ImageModel
from pliant.models.cheng2020 import ChengModel
from pliant.models.factorized import FactorizedModel
from pliant.models.ilc import IlcModel
from pliant.models.joint_autoregressive import JointAutoregressiveModel
from pliant.models.mean_scale_hyperprior import MeanScaleHyperpriorModel
from pliant.models.msinn import MsinnModel
from pliant.models.scale_hyperprior import ScaleHyperpriorModel
from pliant.models.variable_rate import METHODS, VariableRateModel


class Size(NamedTuple):
    """One size of a model.

    Attributes:
        qualities: the published qualities (1 is the coarsest) that use it; "" for a size of our
            own.
    """

    build: Callable[..., ImageModel]
    config: dict[str, Any]
    qualities: str = ""


_NARROW, _WIDE = {"width": 128, "channels": 192}, {"width": 192, "channels": 320}
_SMALL = {"width": 64, "channels": 192, "exact": True}
_SMALL_FLOW = {
    "widths": (16, 32, 48, 64),
    "units": 2,
    "context": (64, 96, 64, 48, 32),
    "refinement": (16, 0),
    "post": 0,
    "exact": True,
    "weights": SMALL_ANCHOR_WEIGHTS[:8],
}
_FLOAT_CONTEXT = {"exact": False, "linear": True, "context": (48, 48, 32, 16, 8)}
_SMALL_TEACHER = {"width": 64, "channels": 64, "stages": 3, "exact": True}
_SMALL_LOSSY = {"widths": (32, 64), "kernels": (3, 3), "couplings": 2, "exact": True}
_RECTIFIED = {"rectified": True}

SYSTEMS: dict[str, Callable[..., ImageModel]] = {
    "factorized": FactorizedModel,
    "scale-hyperprior": ScaleHyperpriorModel,
    "mean-scale-hyperprior": MeanScaleHyperpriorModel,
    "joint-autoregressive": JointAutoregressiveModel,
    "cheng2020": ChengModel,
}

ZOO: dict[str, Size] = {
    "factorized-small": Size(FactorizedModel, _SMALL),
    "scale-hyperprior-small": Size(ScaleHyperpriorModel, _SMALL),
    "mean-scale-hyperprior-small": Size(MeanScaleHyperpriorModel, _SMALL),
    "scale-hyperprior-small-vbr": Size(VariableRateModel, {"system": "scale-hyperprior"} | _SMALL),
    **{
        f"mean-scale-hyperprior-small-{method}": Size(
            VariableRateModel, {"system": "mean-scale-hyperprior", "method": method} | _SMALL
        )
        for method in METHODS
    },
    "msinn-small": Size(MsinnModel, _SMALL_FLOW),
    "msinn-small-float": Size(MsinnModel, _SMALL_FLOW | _FLOAT_CONTEXT),
    "msinn-small-12": Size(MsinnModel, _SMALL_FLOW | {"weights": SMALL_ANCHOR_WEIGHTS}),
    "msinn-8": Size(MsinnModel, {"weights": ANCHOR_WEIGHTS[:8]}, "1-8"),
    "msinn-12": Size(MsinnModel, {"weights": ANCHOR_WEIGHTS}, "1-12"),
    "ilc-teacher-small": Size(FactorizedModel, _SMALL_TEACHER),
    "ilc-small": Size(IlcModel, _SMALL_LOSSY),
    "ilc-small-unmixed": Size(IlcModel, _SMALL_LOSSY | {"mixing": False}),
    "ilc-teacher": Size(FactorizedModel, {"width": 256, "channels": 256}, "1-5"),
    "ilc": Size(IlcModel, {}, "1-5"),
    "bmshj2018-hyperprior-vbr": Size(
        VariableRateModel, {"system": "scale-hyperprior"} | _WIDE, "1-8"
    ),
    "mbt2018-mean-vbr": Size(VariableRateModel, {"system": "mean-scale-hyperprior"} | _WIDE, "1-8"),
    "mbt2018-vbr": Size(VariableRateModel, {"system": "joint"} | _WIDE, "1-8"),
    "bmshj2018-factorized-128": Size(FactorizedModel, _NARROW, "1-5"),
    "bmshj2018-factorized-192": Size(FactorizedModel, _WIDE, "6-8"),
    "bmshj2018-factorized-relu-128": Size(FactorizedModel, _NARROW | _RECTIFIED, "1-5"),
    "bmshj2018-factorized-relu-192": Size(FactorizedModel, _WIDE | _RECTIFIED, "6-8"),
    "bmshj2018-hyperprior-128": Size(ScaleHyperpriorModel, _NARROW, "1-5"),
    "bmshj2018-hyperprior-192": Size(ScaleHyperpriorModel, _WIDE, "6-8"),
    "mbt2018-mean-128": Size(MeanScaleHyperpriorModel, _NARROW, "1-4"),
    "mbt2018-mean-192": Size(MeanScaleHyperpriorModel, _WIDE, "5-8"),
    "mbt2018-192": Size(JointAutoregressiveModel, {"width": 192, "channels": 192}, "1-4"),
    "mbt2018-320": Size(JointAutoregressiveModel, _WIDE, "5-8"),
    "cheng2020-anchor-128": Size(ChengModel, {"width": 128}, "1-3"),
    "cheng2020-anchor-192": Size(ChengModel, {"width": 192}, "4-6"),
    "cheng2020-attn-128": Size(ChengModel, {"width": 128, "attention": True}, "1-3"),
    "cheng2020-attn-192": Size(ChengModel, {"width": 192, "attention": True}, "4-6"),
}
