"""The demo agent: a small scripted CLI that speaks the real one's protocol, so that Orchestra can be tried without one.

No Django here: it runs as a program of its own.
"""

import sys
from pathlib import Path

VERSION = "0.1.0"
STATE_VARIABLE = "ORCHESTRA_DEMO_STATE"
"""Names the folder of its conversations in the environment; without it they are temporary files."""


def command() -> list[str]:
    """The argv prefix that stands where the CLI's path would."""
    return [sys.executable, "-I", "-S", str(Path(__file__).parent / "__main__.py")]
