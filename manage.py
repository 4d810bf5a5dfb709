#!/usr/bin/env python3
"""Entry point. Re-executes itself with the project's own interpreter, so nobody activates anything."""

import os
import sys
from pathlib import Path


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        from django.core.management import execute_from_command_line
    except ImportError:
        own = Path(__file__).resolve().parent / ".venv" / "bin" / "python"
        if not own.exists() or Path(sys.prefix) == own.parent.parent:
            sys.exit("Django is not installed here yet: type `make run` once, it builds what it needs.")
        os.execv(own, [str(own), *sys.argv])
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
