"""Which inputs a rule covers: whole words of a command, the whole input for a session, no switch of the shell."""

import json

import pytest

from approvals.policy import decide, matches, rule_from_request, session_label, session_pattern, session_scope
from tests.approvals.policy_house import ALLOW_ALL, around, call, house, rule

__all__ = ["around", "house"]


@pytest.mark.parametrize(
    ("spec", "command", "covered"),
    [
        ("Bash(git diff:*)", "git diff", True),
        ("Bash(git diff:*)", "git diff HEAD~1", True),
        ("Bash(git diff:*)", "git diff\tHEAD", True),
        ("Bash(git diff:*)", "git difftool", False),
        ("Bash(git diff:*)", "git diff-files", False),
        ("Bash(git diff:*)", "git  diff", False),
        ("Bash(ls:*)", "lsof", False),
        ("Bash(ls:*)", "ls", True),
        ("Bash(go:*)", "gobuster dir", False),
        ("Bash(git -C * show:*)", "git -C x show HEAD", True),
        ("Bash(git diff *)", "git diff HEAD", True),
        ("Bash(git diff *)", "git diff", True),
        ("Bash(git diff *)", "git difftool", False),
        ("Bash(git diff*)", "git difftool", True),
        ("Bash(git diff*)", "git diff", True),
        ("Bash(git * main *)", "git push main", False),
        ("Bash(git diff)", "git diff", True),
        ("Bash(git diff)", "git diff x", False),
        ("Bash(git diff:*)", "git diff; rm x", False),
        ("Bash(git diff:*)", "git diff\nrm x", False),
        ("Bash(:*)", "ls", True),
        ("B*(ls:*)", "lsof", False),
    ],
)
def test_a_prefix_is_about_whole_words(house, spec, command, covered):
    tool, pattern = rule_from_request(spec)
    assert matches(rule("allow", tool, pattern), call(house, "Bash", command=command)) == covered


def test_a_forbidden_prefix_is_about_whole_words_in_every_part(house):
    for command, covered in (("ls && rm x", True), ("rm", True), ("echo $(rm -r x)", True), ("ls; rmdir x", False)):
        assert matches(rule("deny", "Bash", "rm:*"), call(house, "Bash", command=command)) == covered


ASKED_AND_OTHERS = [
    ("Skill", {"skill": "deploy", "args": "staging"}, {"skill": "deploy", "args": "production"}),
    ("Skill", {"skill": "deploy"}, {"skill": "deploy", "args": "production"}),
    ("Bash", {"command": "ls"}, {"command": "ls", "dangerouslyDisableSandbox": True}),
    ("Bash", {"command": "ls"}, {"command": "ls", "run_in_background": True}),
    ("Bash", {"command": "ls"}, {"command": "ls", "anything": 1}),
    ("Bash", {"command": "ls", "run_in_background": True}, {"command": "ls"}),
    ("Bash", {"command": "ls", "run_in_background": True}, {"command": "id", "run_in_background": True}),
    ("Grep", {"pattern": "a", "path": "src"}, {"pattern": "b", "path": "src"}),
    ("Grep", {"pattern": "a", "path": "src"}, {"pattern": "a", "path": "src", "glob": "*.key"}),
    ("Glob", {"pattern": "a", "path": "src"}, {"pattern": "*", "path": "src"}),
    ("WebFetch", {"url": "https://x.org", "prompt": "a"}, {"url": "https://x.org", "prompt": "b"}),
    ("WebSearch", {"query": "a"}, {"query": "a", "allowed_domains": ["x.org"]}),
    ("KillShell", {"shell_id": "1"}, {"shell_id": "2"}),
    ("LS", {"path": "src"}, {"path": "src", "ignore": ["x"]}),
    ("Write", {"file_path": "a.py", "content": "1"}, {"file_path": "b.py", "content": "1"}),
    ("Write", {"file_path": "a.py"}, {"file_path": "a.py", "mode": "0777"}),
    ("Edit", {"file_path": "CLAUDE.md", "new_string": "1"}, {"file_path": "CLAUDE.md", "new_string": "2"}),
    ("mcp__x", {"path": "a", "force": False}, {"path": "a", "force": True}),
]


@pytest.mark.parametrize(("tool", "asked", "other"), ASKED_AND_OTHERS)
def test_a_rule_for_the_session_covers_this_input_and_no_other(house, around, tool, asked, other):
    first, second = call(house, tool, **asked), call(house, tool, **other)
    allowed = rule("allow", tool, session_pattern(first))
    assert matches(allowed, first)
    assert decide(first, [allowed], around).effect == "allow"
    assert not matches(allowed, second)


MAY_CHANGE = [
    ("Bash", {"command": "ls -l", "description": "List", "timeout": 5}, {"timeout": 9, "command": "ls -l"}, "command"),
    ("Bash", {"command": "ls"}, {"command": "ls", "run_in_background": False}, "time limit"),
    ("Write", {"file_path": "a.py", "content": "1"}, {"file_path": "./a.py", "content": "2"}, "Any edit of this file"),
    (
        "Edit",
        {"file_path": "a.py", "old_string": "1"},
        {"file_path": "a.py", "replace_all": True},
        "whatever it changes",
    ),
    ("Read", {"file_path": "/etc/x", "offset": 3}, {"file_path": "/etc/x", "limit": 9}, "any part of this file"),
    ("Skill", {"skill": "x", "args": "1"}, {"args": "1", "skill": "x"}, "exactly this input"),
]


@pytest.mark.parametrize(("tool", "asked", "other", "words"), MAY_CHANGE)
def test_what_may_change_is_said_in_words(house, tool, asked, other, words):
    first = call(house, tool, **asked)
    assert words in session_scope(first)
    assert matches(rule("allow", tool, session_pattern(first)), call(house, tool, **other))


def test_the_words_of_a_button_name_any_edit_but_not_for_a_protected_file(house):
    assert session_label(call(house, "Edit", file_path="a.py")) == "Approve any edit of this file for session"
    assert session_label(call(house, "Edit", file_path="CLAUDE.md")) == "Approve for session"
    assert "exactly this input" in session_scope(call(house, "Edit", file_path="CLAUDE.md"))
    assert session_label(call(house, "Bash", command="ls")) == "Approve for session"


@pytest.mark.parametrize("switch", ["dangerouslyDisableSandbox", "run_in_background", "_simulatedSedEdit"])
def test_no_rule_for_bash_covers_a_switch_of_the_shell(house, around, switch):
    asked = call(house, "Bash", command="ls", **{switch: True})
    for wide in (ALLOW_ALL, rule("allow", "Bash"), rule("allow", "Bash", "ls"), rule("allow", "Bash", "ls:*")):
        assert decide(asked, [wide], around).effect == "ask"
    assert matches(rule("allow", "Bash", session_pattern(asked)), asked)


def test_a_command_that_looks_like_an_input_is_not_taken_for_one(house):
    text = json.dumps({"command": "rm x", "run_in_background": True})
    asked = call(house, "Bash", command=text)
    allowed = rule("allow", "Bash", session_pattern(asked))
    assert matches(allowed, asked)
    assert not matches(allowed, call(house, "Bash", command="rm x", run_in_background=True))
