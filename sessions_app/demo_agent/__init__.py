"""The demo agent: a scripted CLI with the protocol of the real one, so that Orchestra can be tried
without it.

This package imports no Django: it runs as a program of its own.
"""

import sys
from pathlib import Path

VERSION = "0.1.0"
STATE_VARIABLE = "ORCHESTRA_DEMO_STATE"
"""The environment variable with the folder of its conversations.

Without it they go to the temporary folder.
"""


def command() -> list[str]:
    """The arguments that start the demo agent in place of the CLI's path."""
    return [sys.executable, "-I", "-S", str(Path(__file__).parent / "__main__.py")]
