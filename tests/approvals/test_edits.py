"""What the CLI makes of an edit, foretold. The table was measured on the real CLI, which has a test of its own."""

from pathlib import Path
from typing import Any

import pytest

from approvals.models import Approval
from approvals.presentation.edits import (
    AGAINST_DISK,
    HAS_CONTENT,
    NOT_THERE,
    NOTHING_CHANGES,
    QUOTES,
    Edit,
    preview_edits,
)
from approvals.presentation.render import what_would_run
from tests.sessions_app.edit_cases import CASES, Case


def written(case: Case) -> bytes:
    """What the preview says that the file is afterwards."""
    from approvals.presentation.edits import BOM, writes_crlf

    text = case.before.decode()
    done = preview_edits(text, [Edit(case.old, case.new, case.everywhere)], path=case.name)
    if done.after is None:
        return case.before
    after = done.after.replace("\r\n", "\n")
    after = after.replace("\n", "\r\n") if writes_crlf(text) else done.after
    return ((BOM if text.startswith(BOM) else "") + after).encode()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.about)
def test_the_preview_is_what_the_cli_writes(case: Case) -> None:
    assert written(case) == case.after


@pytest.mark.parametrize(
    ("before", "edit", "note"),
    [
        ("one\r\ntwo\r\n", Edit("one\ntwo", "1\n2"), f"{AGAINST_DISK} Its line ends (CRLF) are kept."),
        ("one\ntwo\r\nx\n", Edit("one", "1"), f"{AGAINST_DISK} Its line ends are mixed; they all become LF."),
        ("\ufeffone\n", Edit("one", "1"), f"{AGAINST_DISK} Its byte-order mark is kept."),
        ("say “hi”\n", Edit('say "hi"', "x"), f"{AGAINST_DISK} {QUOTES}"),
        ("a\na\n", Edit("a", "b", everywhere=True), f"{AGAINST_DISK} It replaces 2 places."),
        ("a\na\n", Edit("a", "b"), "The text to replace occurs 2 times and the edit names one, so it would fail."),
        ("one\n", Edit("two", "2"), NOT_THERE),
        ("one\n", Edit("", "2"), HAS_CONTENT),
        ("one\n", Edit("one", "one"), NOTHING_CHANGES),
    ],
)
def test_it_says_what_else_happens_or_why_it_would_fail(before: str, edit: Edit, note: str) -> None:
    assert preview_edits(before, [edit], path="a.txt").note == note


def test_of_several_edits_the_one_that_fails_is_named() -> None:
    done = preview_edits("one\ntwo\n", [Edit("one", "1"), Edit("one", "2")], path="a.txt")
    assert (done.after, done.note) == (None, f"Edit 2 of 2: {NOT_THERE}")


def test_an_edit_of_a_crlf_file_is_shown_as_a_change_of_its_lines(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\r\ntwo\r\nthree\r\n")
    given = '{"file_path": "a.txt", "old_string": "one\\ntwo", "new_string": "one\\n2"}'
    fields: dict[str, Any] = {"tool_name": "Edit", "tool_input": given, "working_directory": str(tmp_path)}
    [block] = what_would_run(Approval(**fields))
    assert [(line.kind, line.text) for line in block.lines[1:]] == [
        ("same", "one"), ("del", "two"), ("add", "2"), ("same", "three")
    ]  # fmt: skip
    assert "CRLF" in block.note
