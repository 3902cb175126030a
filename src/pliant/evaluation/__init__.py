"""Comparison with everything that a user would pick instead.

`codecs` (who), `metrics` (how good), `run` (codecs x images x qualities to the rows of a `table`,
by the `jobs` of `workers`), `curves` (means, BD-rate), `report` (what is made of them).
"""
