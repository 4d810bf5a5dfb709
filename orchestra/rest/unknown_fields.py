"""What a body says that nobody reads: a misspelt ``updated_input`` must not approve the original."""

import difflib
from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

MOST_NAMED = 10  # of a body that is something else altogether
LONGEST_NAME = 100


def unknown_fields(serializer: serializers.BaseSerializer[Any], data: object) -> dict[str, list[str]]:
    """Complaints by name, as validation errors have them; fields of nested objects are named as ``outer.inner``.

    What is known are the serializer's own fields, those for reading only left out.
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
