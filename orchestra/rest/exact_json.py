"""JSON of the REST API: responses round, reorder and drop nothing; requests must be strict JSON of
bounded depth.
"""

import codecs
import json
import math
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser
from rest_framework.renderers import JSONRenderer
from rest_framework.utils.encoders import JSONEncoder

DEEPEST = 100  # levels; json gives up near 1000 of them, PostgreSQL and clients earlier


@dataclass(frozen=True, slots=True)
class RawJSON:
    """JSON text that becomes part of a response unchanged, with its long integers, repeated keys
    and escapes.
    """

    text: str


def dumps(data: object) -> str:
    """Return ``data`` as one line of JSON, with every ``RawJSON`` in it unchanged.

    Line breaks between the tokens of a raw text (the only place JSON allows them) become spaces.
    """
    mark = secrets.token_hex(16)
    raw_texts: list[str] = []

    def encode(value: object) -> Any:
        if isinstance(value, RawJSON):
            raw_texts.append(value.text.replace("\n", " ").replace("\r", " "))
            return mark
        return JSONEncoder().default(value)

    first, *others = json.dumps(data, default=encode, ensure_ascii=False, separators=(",", ":")).split(f'"{mark}"')
    return first + "".join(raw + other for raw, other in zip(raw_texts, others, strict=True))


class ExactJSONRenderer(JSONRenderer):
    """Renders responses.

    A lone surrogate, which UTF-8 cannot encode, is written as its JSON escape.
    """

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        return b"" if data is None else dumps(data).encode("utf-8", "backslashreplace")


class ExactJSONParser(JSONParser):
    """Parses request bodies: strict JSON of bounded depth, without ``NaN`` and infinities."""

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        try:
            return strict_loads(codecs.getreader("utf-8")(stream).read())
        except TooDeep as error:
            raise ParseError(str(error)) from None
        except ValueError as error:
            raise ParseError(f"The body is not JSON: {error}") from None


class TooDeep(ValueError):
    """Arrays and objects are nested in more than ``DEEPEST`` levels."""


def strict_loads(text: str) -> Any:
    """Parse strict JSON of bounded depth, without ``NaN`` and infinities.

    Raises:
        TooDeep: the JSON is nested in more than ``DEEPEST`` levels.
        ValueError: the text is not JSON.
    """
    try:
        data = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise TooDeep("The JSON is nested too deeply.") from None
    if too_deep(data):
        raise TooDeep("The JSON is nested too deeply.")
    return data


def too_deep(data: object) -> bool:
    """Whether arrays and objects are nested in more than ``DEEPEST`` levels."""
    level = [data]
    for _ in range(DEEPEST + 1):
        level = [inner for value in level for inner in _inside(value)]
        if not level:
            return False
    return True


def texts_in(data: object) -> Iterator[str]:
    """Yield every string in parsed JSON of bounded depth, keys included."""
    if isinstance(data, str):
        yield data
    for inner in _inside(data):
        yield from texts_in(inner)
    if isinstance(data, dict):
        yield from data


def _inside(value: object) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:20]} is out of range")
    return number
