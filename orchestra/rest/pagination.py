"""Lists of the REST API: pages, filters, order.

A module of its own, since the settings name it as the default.
"""

from typing import TYPE_CHECKING, Any

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request
from rest_framework.response import Response

if TYPE_CHECKING:
    from rest_framework.views import APIView


class Pages(PageNumberPagination):
    """Numbered pages that stay fast on a long table, because rows are counted up to ``count_limit``
    only.
    """

    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200
    count_limit = 10_000
    request: Request
    longest_number = 9  # digits of a page number; more would overflow the database's OFFSET

    def paginate_queryset(self, queryset: Any, request: Request, view: "APIView | None" = None) -> list[Any]:
        self.request = request
        size, number = self._asked(request)
        self.counted = queryset.order_by()[: self.count_limit + 1].count()
        start = (number - 1) * size
        beyond = self.counted <= self.count_limit and start >= self.counted
        rows = [] if beyond else list(queryset[start : start + size + 1])
        if not rows and number > 1:
            raise NotFound("There is no such page.")
        self.number, self.has_next = number, len(rows) > size
        return rows[:size]

    def get_next_link(self) -> str | None:
        return self._link(self.number + 1) if self.has_next else None

    def get_previous_link(self) -> str | None:
        return self._link(self.number - 1) if self.number > 1 else None

    def get_paginated_response(self, data: Any) -> Response:
        inexact = {"count_exact": False} if self.counted > self.count_limit else {}
        links = {"next": self.get_next_link(), "previous": self.get_previous_link()}
        return Response({"count": min(self.counted, self.count_limit), **inexact, **links, "results": data})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        whole: dict[str, Any] = super().get_paginated_response_schema(schema)
        whole["properties"]["count_exact"] = {
            "type": "boolean",
            "description": f"false, and count is {self.count_limit}, when there are more; absent otherwise",
        }
        return whole

    def _asked(self, request: Request) -> tuple[int, int]:
        size, number = (request.query_params.get(name, "") for name in ("page_size", "page"))
        if size and not self._is_positive(size):
            raise ValidationError({"page_size": [f"A number from 1 to {self.max_page_size}."]})
        if number and not self._is_positive(number):
            raise NotFound("There is no such page.")
        return min(int(size or self.page_size), self.max_page_size), int(number or 1)

    def _is_positive(self, text: str) -> bool:
        return text.isascii() and text.isdigit() and len(text) <= self.longest_number and int(text) > 0

    def _link(self, number: int) -> str:
        query = self.request.query_params.copy()
        query["page"] = str(number)
        return self.request.build_absolute_uri(f"{self.request.path}?{query.urlencode()}")


class Ordering(filters.OrderingFilter):
    """``?ordering=``; rows with equal values keep the same order on all pages."""

    def filter(self, rows: QuerySet[Any], value: Any) -> QuerySet[Any]:
        ordered: QuerySet[Any] = super().filter(rows, value)
        return ordered.order_by(*ordered.query.order_by, "id") if value else ordered


class StrictFilters(filters.FilterSet):
    """Refuses unknown parameters: with a misspelt filter the list would show all rows."""

    def is_valid(self) -> bool:
        for name in set(self.data) - set(self.filters) - {"page", "page_size"}:
            self.form.errors[name] = self.form.error_class(["There is no such filter."])
        return bool(super().is_valid())
