"""Decorators that add to the OpenAPI schema what drf-spectacular cannot derive: errors, examples,
headers.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers

from orchestra.rest.idempotency import HEADER, LONGEST_KEY
from orchestra.rest.schema_descriptions import EXAMPLES, MEANINGS

F = TypeVar("F", bound=Callable[..., Any])


class ErrorSerializer(serializers.Serializer[Any]):
    """The body of every error.

    An error may have further fields, such as `decided_by` or `fields`.
    """

    code = serializers.CharField(help_text="A stable name of the error, for programs.")
    detail = serializers.CharField(help_text="One sentence for people.")


READING = (400, 401, 403, 404, 503)
WRITING = (400, 401, 403, 404, 409, 413, 415, 422, 429, 503)
IDEMPOTENCY_KEY = OpenApiParameter(
    HEADER,
    {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY, "pattern": "^[ -~]+$"},
    OpenApiParameter.HEADER,
    description="A request with the same key and body within 24 hours gets the first response again.",
)


def read(summary: str, answer: Any, *, parameters: Sequence[OpenApiParameter] = (), **more: Any) -> Callable[[F], F]:
    """Describe a GET.

    ``answer`` is a serializer, or ``{(status, media type): type}`` if it is not JSON.
    """
    described: Callable[[F], F] = extend_schema(
        summary=summary,
        parameters=list(parameters),
        responses=(answer if isinstance(answer, dict) else {200: answer}) | _errors(READING),
        **more,
    )
    return described


def write(
    summary: str, request: Any, answer: Any, *, status: int = 200, example: Mapping[str, Any] | None = None
) -> Callable[[F], F]:
    """Describe a POST; all of them take an idempotency key. ``example`` is a typical body."""
    described: Callable[[F], F] = extend_schema(
        summary=summary,
        request=request,
        parameters=[IDEMPOTENCY_KEY],
        responses={status: answer} | _errors(WRITING),
        examples=_bodies(example),
    )
    return described


def change(
    summary: str, request: Any, answer: Any, *, status: int = 200, example: Mapping[str, Any] | None = None
) -> Callable[[F], F]:
    """Describe a PATCH or DELETE: repeating one is safe, so it takes no idempotency key."""
    described: Callable[[F], F] = extend_schema(
        summary=summary, request=request, responses={status: answer} | _errors(WRITING), examples=_bodies(example)
    )
    return described


def query(name: str, description: str, *, least: int, most: int) -> OpenApiParameter:
    """Describe a whole number in the query string."""
    number = {"type": "integer", "minimum": least, "maximum": most}
    return OpenApiParameter(name, number, OpenApiParameter.QUERY, description=description)


def without_optional_slash(endpoints: list[tuple[str, str, str, Any]], **_: Any) -> list[tuple[str, str, str, Any]]:
    """drf-spectacular hook: leave out the optional slash at the end of paths."""
    return [(path.rstrip("/"), regex, method, view) for path, regex, method, view in endpoints]


def _errors(statuses: Sequence[int]) -> dict[int, OpenApiResponse]:
    return {
        status: OpenApiResponse(
            ErrorSerializer, MEANINGS[status], [OpenApiExample(str(EXAMPLES[status]["code"]), EXAMPLES[status])]
        )
        for status in statuses
    }


def _bodies(example: Mapping[str, Any] | None) -> list[OpenApiExample]:
    return [OpenApiExample("usual", dict(example), request_only=True)] if example else []


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """``Authorization: Token …``"""

    target_class = "orchestra.auth.api_authentication.KnownToken"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "`Token <key>`, with a key made by `manage.py create_token USER`.",
        }
