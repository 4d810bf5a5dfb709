"""Serializer fields without type conversion: the string "5" is no number, the number 5 is no
string.
"""

import json
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from orchestra.rest.exact_json import RawJSON, texts_in


class Text(serializers.CharField):
    """A JSON string, unchanged; the base class refuses NUL and lone surrogates."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"trim_whitespace": False} | options)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class Truth(serializers.BooleanField):
    """``true`` or ``false``."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class Whole(serializers.IntegerField):
    """A JSON number without a fraction."""

    def to_internal_value(self, data: Any) -> int:
        if type(data) is not int:
            self.fail("invalid")
        return data


class Number(serializers.FloatField):
    """A JSON number within the range of a float."""

    def to_internal_value(self, data: Any) -> float:
        if type(data) not in (int, float):
            self.fail("invalid")
        try:
            return float(data)
        except OverflowError:
            self.fail("invalid")


@extend_schema_field(OpenApiTypes.OBJECT)
class JSONObject(serializers.Field[dict[str, Any], Any, Any, Any]):
    """A JSON object that is stored as text, so it may contain any string."""

    default_error_messages = {"invalid": "This must be a JSON object.", "too_long": "This is too long."}
    longest = 1024 * 1024  # characters of its JSON text

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            self.fail("invalid")
        if len(json.dumps(data)) > self.longest:
            self.fail("too_long")
        return data

    def to_representation(self, value: Any) -> Any:
        return value


class StoredObject(JSONObject):
    """A JSON object for a JSON column, which takes neither NUL nor lone surrogates (``jsonb``
    refuses both).
    """

    default_error_messages = {"characters": "Texts in this may contain neither NUL nor invalid Unicode."}
    longest = 64 * 1024

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        known = super().to_internal_value(data)
        if any("\0" in text or any("\ud800" <= char <= "\udfff" for char in text) for text in texts_in(known)):
            self.fail("characters")
        return known


@extend_schema_field(OpenApiTypes.ANY)
class ExactJSON(serializers.Field[Any, Any, Any, Any]):
    """Stored JSON text, returned unchanged; ``null`` for the empty text."""

    def __init__(self, **options: Any) -> None:
        super().__init__(read_only=True, **options)

    def to_representation(self, value: str) -> RawJSON | None:
        return RawJSON(value) if value else None


class NothingSerializer(serializers.Serializer[Any]):
    """An empty object, or no body at all."""
