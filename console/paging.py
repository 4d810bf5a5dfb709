"""Numbered pages of long lists. The total is not counted: one row more than a page shows whether a
next page exists.
"""

from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest

LAST = 100_000  # pages; a larger OFFSET would be too slow


@dataclass(frozen=True, slots=True)
class Numbered:
    """The rows of one page, their positions in the list, and the URLs of the adjacent pages (empty
    for none).
    """

    rows: list[Any]
    first: int
    last: int
    previous: str
    next: str


def numbered(request: HttpRequest, rows: QuerySet[Any], *, size: int = 50) -> Numbered:
    """The page with the number in ``?page=``; the first page if that is no number."""
    wanted = request.GET.get("page", "")
    number = max(1, min(LAST, int(wanted))) if wanted.isascii() and wanted.isdigit() and len(wanted) < 9 else 1
    start = (number - 1) * size
    found = list(rows[start : start + size + 1])
    shown = found[:size]
    return Numbered(
        rows=shown,
        first=start + 1 if shown else 0,
        last=start + len(shown),
        previous=_address(request, number - 1) if number > 1 else "",
        next=_address(request, number + 1) if len(found) > size else "",
    )


def _address(request: HttpRequest, number: int) -> str:
    query = request.GET.copy()
    query["page"] = str(number)
    return f"?{query.urlencode()}"


def without_page(request: HttpRequest, **instead: str) -> str:
    """The query string of this list's first page with some filters changed; empty values remove a
    filter.
    """
    query = request.GET.copy()
    query.pop("page", None)
    for name, value in instead.items():
        query.pop(name, None)
        if value:
            query[name] = value
    return f"?{query.urlencode()}"
