"""Comparison with everything that a user would pick instead.

`codecs` (who), `metrics` (how good), `run` (codecs x images x qualities to rows), `report` (curves,
BD-rate, table, plot).
"""
