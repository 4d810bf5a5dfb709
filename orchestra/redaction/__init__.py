"""Redaction: secrets are removed from the texts that leave Orchestra through channels and
callbacks.

Only the value of a secret is replaced, by ``[secret 1]``, ``[secret 2]`` and so on. The same value
gets the same number everywhere, the number of lines stays the same, and the command, its host and
its paths stay readable. Redaction is a heuristic: it finds a secret by its form, by its name or by
its place in a command, and misses a secret that has none of them. The package needs only the
standard library.
"""

from orchestra.redaction.hiding import PLACEHOLDER, Redaction

__all__ = ["PLACEHOLDER", "Redaction"]
