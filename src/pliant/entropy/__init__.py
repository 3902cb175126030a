"""Integers to bytes and back: probability tables and a rANS coder.  Imports only numpy."""

from pliant.entropy.rans import Decoder, Encoder, encode, symbol_hash
from pliant.entropy.tables import SCALES, Tables, laplace_scale

__all__ = ["SCALES", "Decoder", "Encoder", "Tables", "encode", "laplace_scale", "symbol_hash"]
