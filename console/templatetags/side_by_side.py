"""Template filters for side-by-side diffs."""

from django import template

from approvals.presentation.diffs import Line
from approvals.presentation.side_by_side import Pair, pairs

register = template.Library()


@register.filter
def comparable(lines: tuple[Line, ...]) -> bool:
    """Whether the file existed before: a new file has no old side."""
    return any(line.kind in ("same", "del") for line in lines)


@register.filter
def beside(lines: tuple[Line, ...]) -> list[Pair]:
    """The lines of a unified diff as two columns."""
    return list(pairs(lines))
