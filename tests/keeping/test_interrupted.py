"""A restore that is killed at any line leaves the old database or the restored one, whole."""

import os
import random
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from django.db import connection

from approvals.models import Approval
from approvals.tasks import seal_audit
from orchestra.backup.commands import restore_backup, take_backup, verify_backup
from orchestra.db import fencing
from orchestra.runtime import data_lock
from tests.factories import make_approval

Line = tuple[str, int]
CODE = f"{os.sep}orchestra{os.sep}backup{os.sep}"
LAST_STEPS = ("replace_database", "_checkpoint_and_close")
OTHERS = 3
KILLED = 137


class Lines:
    """Follows which lines of the backup code are reached for the first time; calls ``at`` on one of them."""

    def __init__(self, at: Line | None = None, act: Callable[[], None] = lambda: None) -> None:
        self.seen: dict[Line, str] = {}
        self._at, self._act = at, act

    def __call__(self, frame: FrameType, event: str, _: Any) -> "Lines | None":
        if CODE not in frame.f_code.co_filename:
            return None
        if event == "line":
            line = (frame.f_code.co_filename, frame.f_lineno)
            if line == self._at:
                self._act()
            self.seen.setdefault(line, frame.f_code.co_name)
        return self


def restore_in_child(folder: Path, lines: Lines) -> int:
    """The exit code of a process that restores and follows ``lines``; it alone uses the data folder."""
    connection.close()
    while data_lock._shared:
        data_lock._shared.popitem()[1].close()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            sys.settrace(lines)
            restore_backup(folder, keep_rules=False)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.timeout(300)
def test_a_restore_killed_at_any_step_leaves_a_whole_database(house: Path) -> None:
    approval = make_approval(title="of the backup")
    seal_audit()
    folder = take_backup(house / "backups")
    whole = Lines()
    sys.settrace(whole)
    restore_backup(folder, keep_rules=False)
    sys.settrace(None)
    steps = [line for line, name in whole.seen.items() if name in LAST_STEPS]
    assert len(steps) > 5
    steps += random.Random(7).sample([line for line in whole.seen if line not in steps], OTHERS)
    outcomes = set()
    for number, step in enumerate(steps):
        Approval.objects.filter(pk=approval.pk).update(title=f"live {number}")
        before = fencing.current_epoch()
        assert restore_in_child(folder, Lines(step, lambda: os._exit(KILLED))) == KILLED, step
        title, now = Approval.objects.get().title, fencing.current_epoch()
        assert (title, now == before) in ((f"live {number}", True), ("of the backup", False)), step
        outcomes.add(title == "of the backup")
    assert outcomes == {True, False}, "the kills were to come before and after the last step"
    assert restore_in_child(folder, Lines()) == 0
    assert Approval.objects.get().title == "of the backup"
    verify_backup(take_backup(house / "backups"))
