"""``manage.py drill`` cuts off each dependency in turn and reports which ways to decide still work."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.module_loading import import_string


class Command(BaseCommand):
    help = "Cut off each dependency on purpose, try every way to decide, and write a dated report."

    def handle(self, *args: Any, **options: Any) -> None:
        """
        Raises:
            CommandError: a way to decide failed that must work; the report names it.
        """
        began = datetime.now(UTC)
        rows, failed = [], 0
        for finding in import_string(settings.DRILL)():
            failed += not finding.ok
            word = "ok" if finding.ok else "FAILED"
            rows.append(f"| {finding.outage} | {finding.path} | {word} | {finding.seconds:.1f} | {finding.note} |")
            style = self.style.SUCCESS if finding.ok else self.style.ERROR
            line = f"without {finding.outage}: {finding.path} ({finding.seconds:.1f} s) {finding.note}"
            self.stdout.write(f"{style(f'{word:<7}')} {line}")
        report = self._write(began, rows, failed)
        self.stdout.write(f"Report: {report}")
        if failed:
            raise CommandError(f"{failed} of {len(rows)} paths failed.")

    def _write(self, began: datetime, rows: list[str], failed: int) -> Path:
        folder = settings.ORCHESTRA.data_dir / "drills"
        folder.mkdir(mode=0o700, exist_ok=True)
        path: Path = folder / f"drill-{began:%Y%m%d-%H%M%S}.md"
        outcome = f"{failed} of {len(rows)} paths FAILED" if failed else f"all {len(rows)} paths worked"
        head = [
            f"# Drill of {began:%Y-%m-%d %H:%M:%S} UTC on {settings.ORCHESTRA.hostname}: {outcome}",
            "",
            "| cut off | path | outcome | seconds | note |",
            "|---|---|---|---|---|",
        ]
        path.write_text("\n".join([*head, *rows, ""]))
        return path
