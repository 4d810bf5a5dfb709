"""Several calls of one message, the first of which parks, on the real CLI: all are asked, each runs as decided."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from approvals.models import Approval, Violation
from tests.dialog import Start
from tests.stack import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

NAMES = ("one", "two", "three")


def bash(name: str, again: str = "") -> dict[str, Any]:
    given = {"command": f"echo {name} >> {name}.txt", "description": "x"}
    return {"type": "tool_use", "id": f"toolu_{name}{again}", "name": "Bash", "input": given}


@pytest.mark.parametrize("verdicts", ["approved approved approved", "rejected approved rejected"])
def test_of_several_calls_each_does_what_was_decided(start: Start, settings: Settings, verdicts: str) -> None:
    settings.APPROVALS = replace(settings.APPROVALS, hold=timedelta(0))
    first = {"blocks": [bash(name) for name in NAMES]}
    repeated = {"blocks": [bash(name, "_again") for name in NAMES[1:]]}
    dialog = start([first, repeated, "done: {{last_tool_result}}"])
    dialog.ask(3)
    dialog.end()
    assert dialog.session.status == "waiting"
    by_command = {json.loads(one.tool_input)["command"].split()[1]: one for one in Approval.objects.all()}
    assert set(by_command) == set(NAMES)
    nth = {one.pk: place for place, one in enumerate(Approval.objects.order_by("created_at"), 1)}
    decided = dict(zip(NAMES, verdicts.split(), strict=True))
    for name in reversed(NAMES):
        dialog.answer(decided[name], nth[by_command[name].pk], reason="because of the other branch")
    until(lambda: dialog.session.refresh_from_db() or dialog.session.status == "queued", "the answers queue it")
    dialog.run()
    assert dialog.end().status == "completed"
    ran = {path.stem: path.read_text() for path in dialog.folder.glob("*.txt")}
    assert ran == {name: f"{name}\n" for name in NAMES if decided[name] == "approved"}
    assert Approval.objects.count() == 3
    assert not Violation.objects.exists()
    assert start.model_was_told("it was not refused")
    if "rejected" in verdicts:
        assert start.model_was_told("because of the other branch")
