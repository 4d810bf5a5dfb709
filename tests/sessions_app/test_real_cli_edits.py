"""The table of edits that the preview is built on, against the real CLI."""

from pathlib import Path
from typing import Any

import pytest

from approvals.models import Rule
from tests.dialog import Start
from tests.sessions_app.edit_cases import CASES, Case

pytestmark = pytest.mark.django_db(transaction=True)


def calls(file: Path, case: Case) -> list[dict[str, Any]]:
    edit = {"file_path": str(file), "old_string": case.old, "new_string": case.new, "replace_all": case.everywhere}
    return [{"tool": "Read", "input": {"file_path": str(file)}}, {"tool": "Edit", "input": edit}]


def test_the_cli_edits_as_the_table_says(start: Start, tmp_path: Path) -> None:
    Rule.objects.create(effect="allow", tool="Edit", scope="everywhere")
    folder = tmp_path / "work" / "edits"
    files = {}
    for number, case in enumerate(CASES):
        files[case] = folder / str(number) / case.name
        files[case].parent.mkdir(parents=True)
        files[case].write_bytes(case.before)
    turns = [call for case in CASES for call in calls(files[case], case)]
    dialog = start([*turns, "done"], working_directory=str(folder))
    assert dialog.end().status == "completed"
    assert {case.about: file.read_bytes() for case, file in files.items()} == {case.about: case.after for case in CASES}
