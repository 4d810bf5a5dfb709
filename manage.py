#!/usr/bin/env python3
"""Entry point. It re-executes itself with the interpreter in .venv, so that no one has to activate
it.
"""

import os
import select
import sys
from importlib import import_module
from pathlib import Path

OWN = Path(__file__).resolve().parent / ".venv" / "bin" / "python"
TRIED = "ORCHESTRA_OWN_PYTHON_TRIED"
PIPE_CLOSED = 128 + 13  # as a shell reports SIGPIPE


def main() -> None:
    use_own_interpreter()
    try:
        try:
            run()
        finally:
            sys.stdout.flush()  # here a closed pipe (`| head`) is still handled below
    except BrokenPipeError:
        exit_if_output_closed()
        raise


def use_own_interpreter() -> None:
    """Re-execute with .venv's interpreter: another one may have another version of Django."""
    tried = os.environ.pop(TRIED, "")
    if OWN.exists() and Path(sys.prefix).resolve() != OWN.parent.parent.resolve() and not tried:
        os.environ[TRIED] = "yes"  # prevents a loop if that interpreter reports another prefix
        os.execv(OWN, [str(OWN), *sys.argv])


def run() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        from django.core.management import execute_from_command_line
    except ImportError:
        sys.exit("Django is not installed here yet. Run `make run` once, which installs all packages.")
    refuse_bad_settings()
    from django.db import DatabaseError

    from orchestra.auth.actor import at_terminal

    try:
        with at_terminal():
            execute_from_command_line(sys.argv)
    except DatabaseError as error:
        from orchestra.runtime.database_errors import explain

        if "--traceback" in sys.argv or not (why := explain(error)):
            raise
        sys.exit(why)


def refuse_bad_settings() -> None:
    """Exit with the sentence of a bad setting instead of a traceback."""
    from django.core.exceptions import ImproperlyConfigured

    try:
        import_module(os.environ["DJANGO_SETTINGS_MODULE"])
    except ImproperlyConfigured as error:
        sys.exit(str(error))


def exit_if_output_closed() -> None:
    """Exit if the reader has closed our output; a broken connection elsewhere stays an error."""
    gone = [stream for stream in (sys.stdout, sys.stderr) if has_no_reader(stream.fileno())]
    for stream in gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # the interpreter flushes again at exit
    if gone:
        sys.exit(PIPE_CLOSED)


def has_no_reader(descriptor: int) -> bool:
    """Return whether the descriptor is a pipe or socket whose other end is closed."""
    poll = select.poll()
    poll.register(descriptor, 0)  # POLLERR is reported without being requested
    return any(events & select.POLLERR for _, events in poll.poll(0))


if __name__ == "__main__":
    main()
