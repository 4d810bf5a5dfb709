"""``manage.py archive`` moves sessions and approvals that were closed long ago from the database to
files.
"""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from orchestra.archive import commands
from orchestra.errors import OrchestraError


class Command(BaseCommand):
    help = "Archive sessions and approvals that were closed longer ago than RETENTION_DAYS; beat does it every day."

    def add_arguments(self, parser: CommandParser) -> None:
        days = settings.KEEPING.retention / timedelta(days=1)
        parser.add_argument("--days", type=float, default=days, help=f"in place of RETENTION_DAYS ({days:g})")
        parser.add_argument("--dry-run", action="store_true", help="only print how many there are")

    def handle(self, *args: Any, days: float, dry_run: bool, **options: Any) -> None:
        if not 0 <= days < 100_000:
            raise CommandError("--days is a number from 0 on.")
        age = timedelta(days=days)
        if dry_run:
            for name, number in commands.count_due(age).items():
                self.stdout.write(f"{number} {name} would be archived")
            return
        try:
            report = commands.archive(age)
        except (OrchestraError, OSError) as error:
            raise CommandError(str(error)) from None
        for name, number in report.archived.items():
            self.stdout.write(f"{number} {name} archived")
        for name in report.files:
            self.stdout.write(f"  {settings.KEEPING.archive_dir / name}")
        if report.skipped:
            self.stdout.write(f"{report.skipped} changed during the run and stay until the next one")
        for name, number in report.pruned.items():
            self.stdout.write(f"{number} {name} deleted")
