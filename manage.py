#!/usr/bin/env python3
"""Entry point. Re-executes itself with the project's own interpreter, so nobody activates anything."""

import os
import sys
from importlib import import_module
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
    refuse_bad_settings()
    from django.db import DatabaseError

    from orchestra.acting import at_terminal

    try:
        with at_terminal():
            execute_from_command_line(sys.argv)
    except DatabaseError as error:
        from orchestra.no_database import in_words

        if "--traceback" in sys.argv or not (why := in_words(error)):
            raise
        sys.exit(why)


def refuse_bad_settings() -> None:
    """A setting that cannot be meant is answered by its sentence alone."""
    from django.core.exceptions import ImproperlyConfigured

    try:
        import_module(os.environ["DJANGO_SETTINGS_MODULE"])
    except ImproperlyConfigured as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
