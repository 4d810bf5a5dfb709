"""What the OpenAPI schema says beyond what drf-spectacular finds by itself."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers

from orchestra.rest.idempotency import HEADER, LONGEST_KEY
from orchestra.rest.schema_descriptions import EXAMPLES, MEANINGS

F = TypeVar("F", bound=Callable[..., Any])


class ErrorSerializer(serializers.Serializer[Any]):
    """Every refusal. Further facts may stand beside these, such as who decided first, or a field's complaints."""

    code = serializers.CharField(help_text="Stable; programs may rely on it.")
    detail = serializers.CharField(help_text="One sentence a person understands.")


READING = (400, 401, 403, 404, 503)
WRITING = (400, 401, 403, 404, 409, 413, 415, 422, 429, 503)
IDEMPOTENCY_KEY = OpenApiParameter(
    HEADER,
    {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY, "pattern": "^[ -~]+$"},
    OpenApiParameter.HEADER,
    description="The same key and body within 24 hours get the first answer again.",
)


def read(summary: str, answer: Any, *, parameters: Sequence[OpenApiParameter] = (), **more: Any) -> Callable[[F], F]:
    """Describe a GET. ``answer`` is a serializer, or ``{(status, media type): what}`` if it is not JSON."""
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
    """Describe a POST; all of them take an idempotency key. ``example`` is a body that somebody would send."""
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
    """Describe a PATCH or DELETE: safe to send again as it is, so without an idempotency key."""
    described: Callable[[F], F] = extend_schema(
        summary=summary, request=request, responses={status: answer} | _errors(WRITING), examples=_bodies(example)
    )
    return described


def query(name: str, description: str, *, least: int, most: int) -> OpenApiParameter:
    """A whole number in the query string."""
    number = {"type": "integer", "minimum": least, "maximum": most}
    return OpenApiParameter(name, number, OpenApiParameter.QUERY, description=description)


def one_form(endpoints: list[tuple[str, str, str, Any]], **_: Any) -> list[tuple[str, str, str, Any]]:
    """Paths without the optional slash at their end."""
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
