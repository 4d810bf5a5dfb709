"""The facts and options of an external request as lines of text.

Pure; the caller makes the texts safe to read.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

DEEPEST = 6
"""Levels that are indented; deeper values are written in one line."""


def fact_lines(facts: Mapping[str, Any]) -> list[str]:
    """Return ``name: value`` lines; nested values are indented below their name."""
    return [line for name, value in facts.items() for line in _entry(str(name), value, depth=0)]


def numbered(labels: Sequence[str]) -> list[str]:
    """Return the options with the numbers of their buttons: ``2 · Tonight``."""
    return [f"{number} · {label}" for number, label in enumerate(labels, 1)]


def in_one_line(value: Any) -> str:
    """Return a value without JSON's quotes and brackets where that is possible."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(not isinstance(one, dict | list) for one in value):
        return ", ".join(in_one_line(one) for one in value) or "none"
    if value is None or value == {}:
        return "none"
    return json.dumps(value, ensure_ascii=False)


def _entry(name: str, value: Any, *, depth: int) -> Iterator[str]:
    indent = "  " * depth
    nested = _items(value) if depth < DEEPEST else []
    if not nested:
        first, *rest = in_one_line(value).split("\n")
        yield f"{indent}{name}: {first}"
        yield from (f"{indent}  {line}" for line in rest)
        return
    yield f"{indent}{name}:"
    for inner_name, inner in nested:
        yield from _entry(inner_name, inner, depth=depth + 1)


def _items(value: Any) -> list[tuple[str, Any]]:
    """Return the nested entries of ``value``; an empty list if it is written in one line."""
    if isinstance(value, dict):
        return [(str(name), inner) for name, inner in value.items()]
    if isinstance(value, list) and any(isinstance(one, dict | list) for one in value):
        return [(str(number), inner) for number, inner in enumerate(value, 1)]
    return []
