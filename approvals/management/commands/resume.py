"""``manage.py resume``: lift the stop of all agents. It needs the database alone."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from approvals.models import DecisionSource
from approvals.presentation import terminal
from approvals.stop import commands as stops
from approvals.stop import presentation as stop_words
from orchestra.errors import OrchestraError


class Command(BaseCommand):
    help = "Lift the stop of all agents: they go on where they stood."

    def add_arguments(self, parser: CommandParser) -> None:
        terminal.add_user_option(parser)

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            by = terminal.acting_as(options["user"], *stops.MAY_LIFT)
            stop = stops.lift_stop(by=by, via=DecisionSource.CLI, address=terminal.address())
        except OrchestraError as error:
            raise CommandError(error.detail) from None
        self.stdout.write(stop_words.lift_line(stop) if stop else "The agents are not stopped; nothing was changed.")
