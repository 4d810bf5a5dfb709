"""A diff side by side."""

from django import template

from approvals.diffs import Line
from approvals.side_by_side import Pair, pairs

register = template.Library()


@register.filter
def beside(lines: tuple[Line, ...]) -> list[Pair]:
    """The lines of a unified diff as two columns."""
    return list(pairs(lines))
