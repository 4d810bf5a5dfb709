"""``manage.py discover``: look for agents on this host with the account and environment of the
shell.
"""

from typing import Any

from django.core.management.base import BaseCommand

from approvals.presentation.render import visible
from sessions_app.agents.discovery import inspect_agents


class Command(BaseCommand):
    help = "Look for agents on this host with this account and environment. Nothing is recorded."

    def handle(self, *_args: Any, **_options: Any) -> None:
        agents = inspect_agents()
        found = [(agent.name, agent.status, agent.version, agent.path) for agent in agents]
        rows = [("AGENT", "STATUS", "VERSION", "PATH"), *found]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            self.stdout.write("  ".join(cells).rstrip())
        for agent in agents:
            if agent.detail:
                self.stdout.write(f"{agent.name}: {visible(agent.detail)}")
