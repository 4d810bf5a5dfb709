"""Secrets taken out of what leaves Orchestra: one step for every channel and callback. Standard library only.

A secret's value alone is replaced, by ``[secret 1]``, ``[secret 2]`` and so on: the same value gets the same number
everywhere, lines stay lines, and the command, its host and its paths stay readable. Nothing here is a proof: a secret
that neither its form, its name nor its place gives away is not found.
"""

from orchestra.redaction.hiding import PLACEHOLDER, Redaction

__all__ = ["PLACEHOLDER", "Redaction"]
