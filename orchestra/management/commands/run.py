"""``manage.py run NAME`` runs one process of an installation in the foreground, under systemd or
compose.
"""

import os
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections
from django.utils.module_loading import import_string

from orchestra.runtime import data_lock


class Command(BaseCommand):
    help = "Run one of the processes that `up` runs together, with the same command line and environment."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="web, sessions, worker, beat or telegram")

    def handle(self, *args: Any, name: str, **options: Any) -> None:
        """Replace this process by the program, so that systemd sends it signals and sees its exit
        code.

        Raises:
            CommandError: this installation has no such process.
            SystemExit: a restore of a backup is running.
        """
        programs = {program.name: program for program in import_string(settings.UP_PROGRAMS)()}
        if name not in programs:
            known = ", ".join(programs)
            raise CommandError(f"There is no process {name!r} with these settings. There are: {known}.")
        program = programs[name]
        data_lock.share_or_exit()  # the program takes it, too; a refusal here prints one line and no traceback
        connections.close_all()
        os.chdir(settings.BASE_DIR)
        os.execvpe(program.command[0], program.command, os.environ | program.environment)
