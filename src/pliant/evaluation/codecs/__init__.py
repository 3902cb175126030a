"""Pliant and its rivals behind one interface: pixels and a quality in, the bytes of a file out.

`table` has one row per family and the names of codecs, `spec` reads what users write, `base` says
what a codec is; each family has a file of its own.
"""

from pliant.evaluation.codecs.base import ImageCodec
from pliant.evaluation.codecs.jxl import jxl_distance
from pliant.evaluation.codecs.table import RIVALS, available, find

__all__ = ["RIVALS", "ImageCodec", "available", "find", "jxl_distance"]
