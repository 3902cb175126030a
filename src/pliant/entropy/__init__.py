"""Integers to bytes and back: probability tables and a rANS coder.  Imports only numpy."""

from pliant.entropy.rans import Decoder, encode, symbol_hash
from pliant.entropy.tables import SCALES, Tables, laplace_scale

__all__ = ["SCALES", "Decoder", "Tables", "encode", "laplace_scale", "symbol_hash"]
