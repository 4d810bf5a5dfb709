"""Check or export the sealed audit."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from approvals import audit


class Command(BaseCommand):
    help = (
        "verify: name every edited, deleted or moved audit entry. export: the sealed entries as JSON Lines on stdout."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", choices=["verify", "export"])

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        if action == "verify":
            self._verify()
        else:
            self._export()

    def _verify(self) -> None:
        """Exit code 1 and one line per problem; else the head, which is worth keeping elsewhere."""
        until = audit.head()
        found = 0
        for problem in audit.problems(until):
            self.stdout.write(problem)
            found += 1
        if found:
            raise CommandError(f"the audit is not as it was written: {found} problem{'s' if found > 1 else ''}")
        self.stdout.write(
            f"{until.number} sealed entries, all as they were written; {audit.unsealed_count()} not sealed yet"
        )
        self.stdout.write(f"head: {until.chain}")

    def _export(self) -> None:
        """In chain order. ``approvals.audit`` says how both sums are made, so a copy can be checked anywhere."""
        for seal, entry in audit.sealed_entries(audit.head()):
            line = {
                "number": seal.number,
                "entry": audit.content_of(entry) if entry else None,
                "content_sha256": seal.content_sha256,
                "chain_sha256": seal.chain_sha256,
            }
            self.stdout.write(json.dumps(line, ensure_ascii=True))
