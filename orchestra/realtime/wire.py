"""Messages of the hub as JSON text."""

import json
from collections.abc import Mapping
from typing import Any

from orchestra.errors import Invalid
from orchestra.rest.exact_json import dumps, strict_loads


def text(data: object) -> str:
    """Return JSON that UTF-8 can encode: a lone surrogate becomes its escape, as in REST."""
    return dumps(data).encode("utf-8", "backslashreplace").decode()


def envelope(kind: str, ref: object = None, **fields: object) -> dict[str, object]:
    """Return a message to the client; ``ref`` is that of the request that it answers."""
    return {"type": kind, **({"ref": ref} if ref is not None else {}), **fields}


def message(kind: str, ref: object = None, **fields: object) -> str:
    """Return an ``envelope`` as text."""
    return text(envelope(kind, ref, **fields))


def joined(object_text: str, more: Mapping[str, object]) -> str:
    """Return the JSON object ``object_text``, which is not empty, with further fields at its end."""
    return f"{object_text[:-1]},{text(more)[1:]}" if more else object_text


def parsed(frame: str) -> dict[str, Any]:
    """Return the message that a client sent.

    Raises:
        Invalid: it is not a JSON object with a ``type``.
    """
    try:
        data = strict_loads(frame)
    except ValueError as error:
        raise Invalid(f"A message is a JSON object: {error}") from None
    if not isinstance(data, dict) or not isinstance(data.get("type"), str):
        raise Invalid("A message is a JSON object with a type.")
    return data


def ref_of(data: Mapping[str, Any]) -> object:
    """Return the request's ``ref``, a text or a number; None if it has none.

    Raises:
        Invalid: it is of another type, or too long.
    """
    ref = data.get("ref")
    if ref is None or (isinstance(ref, str | int | float) and len(json.dumps(ref)) <= LONGEST_REF):
        return ref
    raise Invalid(f"A ref is a text or a number of at most {LONGEST_REF} characters.")


LONGEST_REF = 200
