"""``manage.py audit verify | export``: check or export the sealed audit."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from approvals.audit import chain
from approvals.audit.archived import check_archives


class Command(BaseCommand):
    help = (
        "verify: name every edited, deleted or moved audit entry, archived ones included. "
        "export: the sealed entries as JSON Lines on stdout."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", choices=["verify", "export"])
        parser.add_argument("--archives", type=Path, default=settings.KEEPING.archive_dir, help="where archives are")

    def handle(self, *args: Any, action: str, archives: Path, **options: Any) -> None:
        if action == "verify":
            self._verify(archives)
        else:
            self._export()

    def _verify(self, archives: Path) -> None:
        """Print one line for each problem and exit with 1, or print the head of the chain."""
        until = chain.head()
        found = 0
        for problem in chain.problems(until):
            self.stdout.write(problem)
            found += 1
        archived = check_archives(archives)
        for problem in archived.problems:
            self.stdout.write(problem)
            found += 1
        if found:
            raise CommandError(f"the audit is not as it was written: {found} problem{'s' if found > 1 else ''}")
        self.stdout.write(
            f"{until.number} sealed entries, all as they were written; {chain.unsealed_count()} not sealed yet"
        )
        if archived.checked or archived.hidden:
            self.stdout.write(
                f"of them {archived.checked} in archives, as they were sealed, and {archived.hidden} without a secret "
                "that was in them"
            )
        for name, number in archived.absent.items():
            self.stdout.write(f"not looked at: {number} entries in {name}, which is not in {archives}")
        self.stdout.write(f"head: {until.chain}")

    def _export(self) -> None:
        """Print the entries in chain order.

        ``approvals.audit.chain`` defines both sums, so a copy can be verified anywhere.
        """
        for seal, entry in chain.sealed_entries(chain.head()):
            line = {
                "number": seal.number,
                "entry": chain.content_of(entry) if entry else None,
                "archive": seal.archive.name if seal.archive else None,
                "content_sha256": seal.content_sha256,
                "chain_sha256": seal.chain_sha256,
            }
            self.stdout.write(json.dumps(line, ensure_ascii=True))
