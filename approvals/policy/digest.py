"""The digest that identifies exactly what was approved."""

import hashlib
import json
from typing import Any
from uuid import UUID


def input_digest(*, tool_name: str, tool_input: str, working_directory: str, session: UUID | None) -> str:
    """Return the SHA-256 over the canonical JSON of tool, complete input, real path of the
    directory, and session.

    The result has 64 hexadecimal digits. Canonical JSON has sorted keys, no spaces and ASCII
    escapes, as the standard library writes it.

    Raises:
        ValueError: ``tool_input`` is not JSON, or nested too deeply to be read.
    """
    whole = {
        "tool": tool_name,
        "input": _read(tool_input),
        "directory": working_directory,
        "session": str(session or ""),
    }
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _read(text: str) -> Any:
    try:
        return json.loads(text or "null")
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
