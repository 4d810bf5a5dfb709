"""The conformance suite of the gate: does this CLI do what was decided, and nothing else?

``make gate`` runs all cells on the oldest CLI that is fit, the pinned one and the newest of npm; ``make test`` runs the
short lane on the pinned one.
"""
