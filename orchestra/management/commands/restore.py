"""``manage.py restore`` replaces the database by a backup."""

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from orchestra.backup import commands
from orchestra.backup.errors import BackupRefused


class Command(BaseCommand):
    help = "Restore a backup. The present database is kept aside; open turns end and unspent approvals become void."
    requires_system_checks: list[str] = []  # the present database may be in any state
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path)
        parser.add_argument("--yes", action="store_true", help="do not ask")
        parser.add_argument(
            "--keep-rules", action="store_true",
            help="let standing allow rules of directories and of everywhere apply again, also those ended since",
        )  # fmt: skip

    def handle(self, *args: Any, folder: Path, yes: bool, keep_rules: bool, **options: Any) -> None:
        try:
            manifest = commands.inspect(folder)
            self.stdout.write(f"Backup of {manifest.taken_at}, {sum(manifest.counts.values())} rows.")
            if not yes:
                self._ask()
            restored = commands.restore_backup(folder, keep_rules=keep_rules)
        except (BackupRefused, DatabaseError, OSError) as error:
            raise CommandError(f"{str(error).strip()} Nothing was changed.") from None
        for line in restored.messages:
            self.stdout.write(f"- {line}")
        self.stdout.write(f"Fence epoch {restored.epoch}.")
        if restored.kept:
            self.stdout.write(f"The previous data are kept: {restored.kept}")
        self.stdout.write(self.style.SUCCESS("Restored. Start Orchestra and look at what was interrupted."))

    def _ask(self) -> None:
        if not sys.stdin.isatty():
            raise CommandError("The input is not a terminal, so there is no way to confirm; pass --yes.")
        if input("Put it in the place of the present database? Type yes: ").strip() != "yes":
            raise CommandError("Nothing was changed.")
