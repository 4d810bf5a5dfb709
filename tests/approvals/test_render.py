"""What a person is shown is what runs, at every door the same."""

import json
import os
import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from approvals.models import Approval
from approvals.presentation.render import (
    blocks_for,
    diff_block,
    editable,
    exact_json,
    one_line,
    pretty,
    summary_for,
    title_for,
    visible,
    what_would_run,
    without_title,
)


def blocks(tool, arguments, directory=""):
    return blocks_for(tool, json.dumps(arguments), directory=str(directory))


def signs(block):
    return [(line.sign, line.text) for line in block.lines if line.kind != "hunk"]


def test_ordinary_writing_of_any_direction_stays_as_it_is():
    text = "def f():\n\treturn 'שלום עולם, مرحبا, 日本語, naïve, 🎉 ❤️'\n"
    assert visible(text) == text


@pytest.mark.parametrize(
    ("char", "shown"),
    [
        ("\u202e", "\\u202e"), ("\u2066", "\\u2066"), ("\u200b", "\\u200b"), ("\u200d", "\\u200d"),
        ("\ufeff", "\\ufeff"), ("\x1b", "\\u001b"), ("\x00", "\\u0000"), ("\r", "\\r"),
        ("\x9b", "\\u009b"), ("\u2028", "\\u2028"), ("\u00a0", "\\u00a0"), ("\u3164", "\\u3164"),
        ("\u2800", "\\u2800"), ("\u00ad", "\\u00ad"), ("\U000e0041", "\\U000e0041"),
        ("\U000e0100", "\\U000e0100"), ("\ud800", "\\ud800"),
    ],
)  # fmt: skip
def test_what_hides_or_reorders_is_spelled_out(char, shown):
    assert visible(f"a{char}b") == f"a{shown}b"


@given(st.text())
def test_nothing_dangerous_is_left_in_any_text(text):
    for char in visible(text):
        assert char in "\n\t\ufe0f" or unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    visible(text).encode()


def test_padding_is_counted_instead_of_shown():
    assert visible("ok" + " " * 3000 + "rm -rf /") == "ok ⟨3,000 spaces⟩ rm -rf /"
    assert visible("ok" + "\n" * 40 + "rm") == "ok\n⟨40 empty lines⟩\nrm"
    assert visible("ok" + " \n" * 40 + "rm") == "ok\n⟨40 empty lines⟩\nrm"
    assert visible("if x:\n" + " " * 40 + "deep()") == "if x:\n" + " " * 40 + "deep()"


def test_titles_name_the_tool_and_its_telling_argument():
    assert title_for("Bash", '{"command": "rm -r build"}') == "Bash: rm -r build"
    assert title_for("Write", '{"file_path": "notes/a.txt", "content": "x"}') == "Write: notes/a.txt"
    assert title_for("Bash", '{"command": "a\\nb"}') == "Bash: a ⏎ b"
    assert title_for("TodoWrite", "{}") == "TodoWrite"
    assert title_for("AskUserQuestion", '{"questions": [{"question": "Which?"}]}') == "Question: Which?"


@given(st.text(max_size=50), st.text(max_size=2000))
def test_titles_and_summaries_keep_to_their_length_whatever_comes(tool, text):
    for raw in (
        text,
        json.dumps({"command": text}),
        json.dumps({"questions": text}),
        json.dumps({"questions": [text]}),
    ):
        assert len(title_for(tool, raw)) <= 200
        assert "\n" not in title_for(tool, raw)
        assert len(summary_for(tool, raw)) <= 500


def test_a_command_is_whole_and_what_the_agent_claims_is_marked_as_its_words():
    command, claim = blocks("Bash", {"command": "echo a\necho b", "description": "Harmless"})
    assert (command.kind, command.text) == ("command", "echo a\necho b")
    assert (claim.label, claim.text) == ("The agent's own words", "Harmless")


def test_no_argument_is_left_out():
    shown = blocks("Bash", {"command": "ls", "dangerouslyDisableSandbox": True, "timeout": 5})
    assert "dangerouslyDisableSandbox" in shown[-1].text
    shown = blocks("Write", {"file_path": "/x", "content": "a", "mode": "0777"})
    assert "0777" in shown[-1].text
    shown = blocks("Edit", {"file_path": "/x", "old_string": "a", "new_string": "b", "extra": 1})
    assert "extra" in shown[-1].text


def test_hidden_characters_in_a_command_are_counted_below_it():
    (command,) = blocks("Bash", {"command": "ls \u202e\u200b"})
    assert command.note == "Whole command, 5 characters, 2 kinds of hidden characters made visible"


def test_a_write_is_shown_as_changes_to_the_file_on_disk(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo\nthree\n")
    (diff,) = blocks("Write", {"file_path": "a.txt", "content": "one\n2\nthree\n"}, tmp_path)
    assert signs(diff) == [(" ", "one"), ("-", "two"), ("+", "2"), (" ", "three")]
    assert [(line.old, line.new) for line in diff.lines if line.kind == "same"] == [(1, 1), (3, 3)]


def test_a_write_of_a_new_file_shows_its_whole_content(tmp_path):
    (text,) = blocks("Write", {"file_path": str(tmp_path / "new.txt"), "content": "hello\n"}, tmp_path)
    assert (text.kind, text.text) == ("text", "hello\n")
    assert "new file" in text.note


def test_a_missing_newline_at_the_end_shows(tmp_path):
    (tmp_path / "a.txt").write_text("one\n")
    (diff,) = blocks("Write", {"file_path": "a.txt", "content": "one"}, tmp_path)
    assert signs(diff) == [("-", "one"), ("+", "one ⟨no newline at the end⟩")]


def test_an_edit_is_shown_in_its_place_in_the_file(tmp_path):
    (tmp_path / "a.py").write_text("a\nb\nc\nd\n")
    (diff,) = blocks("Edit", {"file_path": "a.py", "old_string": "c", "new_string": "C"}, tmp_path)
    assert signs(diff) == [(" ", "a"), (" ", "b"), ("-", "c"), ("+", "C"), (" ", "d")]


def test_an_edit_whose_text_is_not_there_says_so_and_still_shows_both(tmp_path):
    (tmp_path / "a.py").write_text("a\n")
    (diff,) = blocks("Edit", {"file_path": "a.py", "old_string": "zzz", "new_string": "y"}, tmp_path)
    assert "not in the file" in diff.note
    assert {sign for sign, _ in signs(diff)} == {"-", "+"}


def test_several_edits_are_applied_one_after_the_other(tmp_path):
    (tmp_path / "a.py").write_text("a a\nb\n")
    edits = [
        {"old_string": "a", "new_string": "x", "replace_all": True},
        {"old_string": "x x\nb", "new_string": "done"},
    ]
    (diff,) = blocks("MultiEdit", {"file_path": "a.py", "edits": edits}, tmp_path)
    assert signs(diff) == [("-", "a a"), ("-", "b"), ("+", "done")]


@pytest.mark.parametrize("path", ["../outside.txt", "/etc/hostname", "link.txt"])
def test_files_outside_the_working_directory_are_never_read(tmp_path, path):
    (tmp_path / "outside.txt").write_text("TOPSECRET\n")
    inside = tmp_path / "work"
    inside.mkdir()
    (inside / "link.txt").symlink_to(tmp_path / "outside.txt")
    shown = blocks("Write", {"file_path": path, "content": "new\n"}, inside)
    assert "TOPSECRET" not in str(shown)
    assert "outside the working directory" in shown[0].note


def test_a_file_of_secrets_is_never_shown(tmp_path):
    (tmp_path / ".env").write_text("KEY=TOPSECRET\n")
    shown = blocks("Write", {"file_path": ".env", "content": "KEY=\n"}, tmp_path)
    assert "TOPSECRET" not in str(shown)


def test_pipes_folders_and_binary_files_do_no_harm(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "large").write_bytes(b"x" * 600_000)
    for name in ("pipe", "folder", "binary", "large"):
        (block,) = blocks("Write", {"file_path": name, "content": "text"}, tmp_path)
        assert block.text == "text"
        assert block.note


def test_questions_come_with_their_options():
    question = {
        "question": "Which?",
        "header": "DB",
        "multiSelect": False,
        "options": [{"label": "A", "description": "first"}],
    }
    (block,) = blocks("AskUserQuestion", {"questions": [question]})
    assert (block.kind, block.label, block.text) == ("question", "DB", "Which?\n1 · A: first")


@pytest.mark.parametrize(
    "raw", ["", "null", "[1]", "{", '{"questions": 5}', '{"command": 5}', '{"edits": [5]}', "[" * 2000]
)
@pytest.mark.parametrize(
    "tool", ["Bash", "Write", "Edit", "MultiEdit", "NotebookEdit", "AskUserQuestion", "ExitPlanMode", "mcp__x__y"]
)
def test_malformed_input_is_shown_as_it_is(tool, raw):
    shown = blocks_for(tool, raw, directory="/tmp")
    assert raw[:100] in str(shown) or tool == "ExitPlanMode" or pretty(raw)[:20].strip()[:1] in str(shown)


def test_repeated_names_and_long_numbers_survive_the_layout():
    raw = '{"a":1,"a":12345678901234567890123,"b":1.10,"c":[],"d":"\\u202e\\u00e9"}'
    shown = pretty(raw)
    assert shown.count('"a"') == 2
    assert "12345678901234567890123" in shown
    assert "1.10" in shown
    assert "é" in shown
    assert "twice" in str(blocks_for("mcp__x__y", raw, directory=""))


def test_an_unknown_tool_shows_its_exact_input():
    (block,) = blocks_for("mcp__x__y", '{"deep":{"list":[1,2]}}', directory="")
    assert json.loads(block.text) == {"deep": {"list": [1, 2]}}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json_values)
@settings(max_examples=200)
def test_laying_out_and_editing_by_hand_never_change_the_meaning(value):
    raw = json.dumps(value)
    assert json.loads(pretty(raw)) == value
    assert json.loads(exact_json(editable(raw))) == value
    assert exact_json(editable(raw)).isascii()
    assert not any(unicodedata.category(char) == "Cf" for char in editable(raw))


def test_an_edited_input_shows_both_and_the_difference():
    approval = Approval(
        tool_name="Bash",
        tool_input='{"command": "rm -r build"}',
        updated_input='{"command": "rm -r build/tmp"}',
        input_digest="d",
    )
    shown = what_would_run(approval)
    assert shown[0].text == "rm -r build/tmp"
    assert "+" in {line.sign for line in shown[1].lines}
    assert (shown[2].label, shown[2].text) == ("Asked for, not allowed: Command", "rm -r build")


def test_a_cut_text_says_how_much_is_missing_and_of_what():
    approval = Approval(tool_name="Bash", tool_input=json.dumps({"command": "x" * 5000}), input_digest="abc123")
    block = what_would_run(approval, longest=1000)[0]
    assert len(block.text) == 1000
    assert block.cut == "Cut: 4,000 more characters are not shown here. Digest of the whole: abc123"


def test_a_cut_diff_keeps_whole_lines(tmp_path):
    (tmp_path / "a.txt").write_text("")
    content = "".join(f"line {n}\n" for n in range(1000))
    approval = Approval(
        tool_name="Write", tool_input=json.dumps({"file_path": "a.txt", "content": content}),
        working_directory=str(tmp_path), input_digest="abc123",
    )  # fmt: skip
    block = what_would_run(approval, longest=500)[0]
    assert 0 < len(block.lines) < 100
    assert "more lines" in block.cut


def test_an_external_question_shows_its_text_and_facts():
    shown = what_would_run(
        Approval(kind="external", title="Deploy?", body="To production", facts={"version": "1.2\u202e"})
    )
    assert [block.text for block in shown[:2]] == ["Deploy?", "To production"]
    assert "\\u202e" in shown[2].text


@pytest.mark.timeout(60)
def test_hostile_texts_cost_no_more_than_a_moment(tmp_path):
    (tmp_path / "a.txt").write_text("a\nb\n" * 20_000)
    started = time.monotonic()
    blocks("Write", {"file_path": "a.txt", "content": "b\na\n" * 20_000}, tmp_path)
    for hostile in (
        ("".join(f"{at % 120}\n" for at in range(80_000)), "".join(f"{119 - at % 120}\n" for at in range(80_000))),
        ("".join(f"{at}\n" for at in range(50_000)), "".join(f"{at}\nn{at}\n" for at in range(50_000))),
    ):
        diff_block("Changes", *hostile)
    visible((" " * 79 + "x") * 20_000)
    visible("\t \n" * 100_000)
    pretty("[" * 100_000)
    one_line("\n" * 1_000_000, 200)
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    "option",
    [
        {"label": "A", "description": "a", "preview": "what only the preview says"},
        {"label": "A", "description": ["what only the preview says"]},
        {"text": "what only the preview says"},
        "what only the preview says",
    ],
)
def test_nothing_that_came_with_an_option_is_left_out(option):
    questions = [{"question": "Which?", "header": "H", "multiSelect": False, "options": [{"label": "B"}, option]}]
    shown = blocks_for("AskUserQuestion", json.dumps({"questions": questions}), directory="/")
    assert any("what only the preview says" in block.text for block in shown)


def test_an_ordinary_question_is_shown_once():
    questions = [{"question": "Which?", "header": "H", "multiSelect": False, "options": [{"label": "B"}]}]
    assert len(blocks_for("AskUserQuestion", json.dumps({"questions": questions}), directory="/")) == 1


@pytest.mark.parametrize("body", ["", "The body of it"])
def test_the_end_of_a_long_title_is_shown(body):
    approval = Approval(kind="external", title="T" * 280 + " the end of it", body=body)
    assert any("the end of it" in block.text for block in without_title(approval, what_would_run(approval)))


def test_a_title_that_fits_its_heading_is_not_said_twice():
    approval = Approval(kind="external", title="Deploy?", body="To production")
    assert [block.text for block in without_title(approval, what_would_run(approval))] == ["To production"]


def test_the_plan_of_a_call_that_has_other_arguments_alone_is_what_came_along():
    [plan, rest] = blocks_for("ExitPlanMode", '{"allowedPrompts": ["x"]}', directory="/", body="1. look")
    assert (plan.kind, plan.text) == ("plan", "1. look")
    assert "allowedPrompts" in rest.text
