#!/usr/bin/env python3
"""Entry point. Re-executes itself with the project's own interpreter, so nobody activates anything."""

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
            sys.stdout.flush()  # here, where the end of `| head` is no traceback yet
    except BrokenPipeError:
        leave_quietly_if_nobody_reads()
        raise


def use_own_interpreter() -> None:
    """Another one may have a Django, too, of another version and without the rest."""
    tried = os.environ.pop(TRIED, "")
    if OWN.exists() and Path(sys.prefix).resolve() != OWN.parent.parent.resolve() and not tried:
        os.environ[TRIED] = "yes"  # never twice, whatever that interpreter takes for its home
        os.execv(OWN, [str(OWN), *sys.argv])


def run() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        from django.core.management import execute_from_command_line
    except ImportError:
        sys.exit("Django is not installed here yet: type `make run` once, it builds what it needs.")
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
    """A setting that cannot be meant is answered by its sentence alone."""
    from django.core.exceptions import ImproperlyConfigured

    try:
        import_module(os.environ["DJANGO_SETTINGS_MODULE"])
    except ImproperlyConfigured as error:
        sys.exit(str(error))


def leave_quietly_if_nobody_reads() -> None:
    """End here if it is the reader of our output who left; a broken connection elsewhere is an error as ever."""
    gone = [stream for stream in (sys.stdout, sys.stderr) if has_no_reader(stream.fileno())]
    for stream in gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # the interpreter flushes once more
    if gone:
        sys.exit(PIPE_CLOSED)


def has_no_reader(descriptor: int) -> bool:
    """Whether this is a pipe, or a socket, whose other end is closed."""
    poll = select.poll()
    poll.register(descriptor, 0)  # errors are told without being asked for
    return any(events & select.POLLERR for _, events in poll.poll(0))


if __name__ == "__main__":
    main()
