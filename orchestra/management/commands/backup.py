"""``manage.py backup`` writes a consistent copy of the database while Orchestra runs."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from orchestra.backup import commands
from orchestra.backup.errors import BackupRefused


class Command(BaseCommand):
    help = "Write a backup of the database; prints its folder as the last line. The secret key is never part of it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--to", type=Path, default=settings.KEEPING.backup_dir, help="folder to put it into")
        parser.add_argument("--s3", default=settings.KEEPING.backup_s3_url, help="also upload it: s3://BUCKET/PREFIX")

    def handle(self, *args: Any, to: Path, s3: str, **options: Any) -> None:
        try:
            folder = commands.take_backup(to.expanduser())
            if s3:
                from orchestra.backup.s3 import upload

                self.stdout.write(f"uploaded to {upload(folder, s3)}")
        except (BackupRefused, DatabaseError, OSError) as error:
            raise CommandError(str(error)) from None
        self.stdout.write(str(folder))
