"""``manage.py stop``: hold or interrupt all agents at once. It needs the database alone."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from approvals.models import DecisionSource
from approvals.presentation import terminal
from approvals.stop import commands as stops
from approvals.stop import presentation as stop_words
from orchestra.errors import OrchestraError


class Command(BaseCommand):
    help = "Stop all agents: nothing is newly allowed, no turn starts, deadlines stand still. See also: resume."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--reason", default="", help="shown on every surface")
        parser.add_argument("--interrupt", action="store_true", help="end running turns instead of holding their calls")
        terminal.add_user_option(parser)

    def handle(self, *_args: Any, **options: Any) -> None:
        mode = stops.INTERRUPT if options["interrupt"] else stops.HOLD
        try:
            by = terminal.acting_as(options["user"], *stops.MAY_STOP)
            stop, new = stops.stop_all(
                by=by, via=DecisionSource.CLI, reason=options["reason"], mode=mode, address=terminal.address()
            )
        except OrchestraError as error:
            raise CommandError(error.detail) from None
        if not new:
            self.stdout.write("They were stopped before; this stop stays in force.")
        for text in (stop_words.headline(stop), stop_words.effect(stop), stop_words.WAITS):
            self.stdout.write(text)
        self.stdout.write("Lift it with: ./manage.py resume")
