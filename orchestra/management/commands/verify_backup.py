"""``manage.py verify_backup`` checks whether a backup can be restored."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from orchestra.backup import commands
from orchestra.backup.errors import BackupRefused


class Command(BaseCommand):
    help = "Check a backup to the last row: checksums, a copy that opens, counts, the audit's chain."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path)

    def handle(self, *args: Any, folder: Path, **options: Any) -> None:
        try:
            manifest = commands.verify_backup(folder)
        except (BackupRefused, DatabaseError, OSError) as error:
            raise CommandError(str(error)) from None
        rows = sum(manifest.counts.values())
        self.stdout.write(f"{manifest.server}, {manifest.taken_at}: {rows} rows in {len(manifest.counts)} tables")
        self.stdout.write(self.style.SUCCESS("The backup is whole and restores."))
