"""Numbered pages of a long list in the console. Nobody counts the whole: there is a next page, or there is none."""

from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest

LAST = 100_000  # pages; further on an OFFSET helps nobody


@dataclass(frozen=True, slots=True)
class Numbered:
    """The rows of one page, where they stand in the list, and the addresses of the pages beside it (empty for none)."""

    rows: list[Any]
    first: int
    last: int
    previous: str
    next: str


def numbered(request: HttpRequest, rows: QuerySet[Any], *, size: int = 50) -> Numbered:
    """The page that ``?page=`` asks for; the first for anything that is no number."""
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
    """The query string of this list from its first page on, with some of its filters changed; empty ones go."""
    query = request.GET.copy()
    query.pop("page", None)
    for name, value in instead.items():
        query.pop(name, None)
        if value:
            query[name] = value
    return f"?{query.urlencode()}"
