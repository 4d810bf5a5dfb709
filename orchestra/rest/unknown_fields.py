"""Fields of a body that no serializer reads.

A misspelt ``updated_input`` must not approve the original call.
"""

import difflib
from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

MOST_NAMED = 10  # a body of another kind would fill the response with names
LONGEST_NAME = 100


def unknown_fields(serializer: serializers.BaseSerializer[Any], data: object) -> dict[str, list[str]]:
    """Return an error for each unknown field, by its name; nested fields are named ``outer.inner``.

    Known are the fields of the serializer that are not read-only.
    """
    return dict(list(_complaints(serializer, data, "").items())[:MOST_NAMED])


def _complaints(serializer: object, data: object, prefix: str) -> dict[str, list[str]]:
    if not isinstance(serializer, serializers.Serializer) or not isinstance(data, Mapping):
        return {}
    known = {name: field for name, field in serializer.fields.items() if not field.read_only}
    found: dict[str, list[str]] = {}
    for name, value in data.items():
        if name in known:
            found |= _complaints(known[name], value, f"{prefix}{name}.")
        else:
            found[prefix + _shown(str(name))] = [_complaint(str(name), list(known))]
    return found


def _complaint(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name[:LONGEST_NAME], known, n=3)
    if near:
        return f"There is no such field. Did you mean {' or '.join(near)}?"
    return f"There is no such field. Known are: {', '.join(known)}." if known else "This takes no fields."


def _shown(name: str) -> str:
    text = name.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}…"
