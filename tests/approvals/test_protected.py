"""What says what runs later is written by no wildcard and by no bare tool name; one person allows one call."""

import json

import pytest

from approvals.policy import Call, decide, fnmatch_escape, matches, session_pattern
from approvals.policy.protected import is_protected
from tests.approvals.policy_house import ALLOW_ALL, around, call, house, rule

__all__ = ["around", "house"]

PROTECTED = [
    ".git/hooks/pre-commit",
    ".git/config",
    ".GIT/HOOKS/pre-commit",
    ".git",
    "vendor/lib/.git/hooks/post-checkout",
    "mirror.git/hooks/post-receive",
    "src/../.git/config",
    "link-git/hooks/pre-commit",
    "hook.txt",
    ".claude/settings.json",
    ".claude/agents/x.md",
    "CLAUDE.md",
    "src/claude.md",
    ".mcp.json",
    ".husky/pre-commit",
    ".envrc",
    ".npmrc",
    ".vscode/tasks.json",
    ".idea/workspace.xml",
    ".devcontainer/devcontainer.json",
    ".bashrc",
    "home/.zshrc",
    ".profile",
    ".bash_profile",
    ".zshenv",
    ".gitmodules",
    ".gitattributes",
    ".pre-commit-config.yaml",
    ".github/workflows/ci.yml",
    ".github/actions/x/action.yml",
    ".env",
    "src/server.pem",
    "infra/main.tfstate",
    ".ssh/authorized_keys",
]
ORDINARY = ["src/a.py", ".gitignore", ".github/CODEOWNERS", "src/git/hooks.py", "README.md", "claude/x.md", "profile"]


@pytest.fixture(autouse=True, scope="module")
def repository(house):
    (house / "work/.git/hooks").mkdir(parents=True, exist_ok=True)
    (house / "work/link-git").symlink_to(house / "work/.git")
    (house / "work/hook.txt").symlink_to(house / "work/.git/hooks/pre-commit")


def accept_edits(house):
    return [rule("allow", tool, f"{house}/work/*") for tool in ("Write", "Edit", "MultiEdit", "NotebookEdit")]


@pytest.mark.parametrize("path", PROTECTED)
def test_accepting_edits_leaves_control_files_to_a_person(house, around, path):
    for tool, name in (("Write", "file_path"), ("Edit", "file_path"), ("NotebookEdit", "notebook_path")):
        asked = call(house, tool, **{name: path}, content="x")
        assert decide(asked, accept_edits(house), around).effect == "ask"
        for wide in (rule("allow", tool), rule("allow", tool, "*"), ALLOW_ALL, rule("allow", "*", "*")):
            assert decide(asked, [wide], around).effect == "ask"


@pytest.mark.parametrize("path", ORDINARY)
def test_accepting_edits_lets_ordinary_files_pass(house, around, path):
    assert decide(call(house, "Write", file_path=path), accept_edits(house), around).effect == "allow"


def test_a_tool_we_do_not_know_writes_no_control_file_by_a_wildcard(house, around):
    for path, effect in ((".git/hooks/x", "ask"), ("src/x", "allow")):
        assert decide(call(house, "mcp__files__write", path=path), [rule("allow", "mcp__*")], around).effect == effect


def test_the_name_of_a_protected_file_covers_no_edit_but_its_whole_input_does(house):
    asked = call(house, "Write", file_path="CLAUDE.md", content="one")
    by_name = rule("allow", "Write", fnmatch_escape(f"{house}/work/CLAUDE.md"))
    assert not matches(by_name, asked)
    exact = rule("allow", "Write", session_pattern(asked))
    assert matches(exact, asked)
    assert not matches(exact, call(house, "Write", file_path="CLAUDE.md", content="two"))


def test_another_argument_does_not_stand_for_the_path(house):
    asked = call(house, "Edit", command="src/a.py", file_path="/etc/passwd")
    assert not matches(rule("allow", "Edit", "src/*"), asked)
    twice = call(house, "Edit", file_path="src/a.py", notebook_path="/etc/passwd")
    assert not matches(rule("allow", "Edit", "src/*"), twice)


def test_a_checkout_where_the_cli_puts_them_is_no_control_folder():
    assert not is_protected("/repo/.claude/worktrees/mine/src/a.py")
    assert is_protected("/repo/.claude/worktrees/mine/.git/config")
    assert is_protected("/repo/.claude/worktrees")


def test_secrets_are_read_by_no_wildcard(house, around):
    (house / "work/.env").touch()
    asked = call(house, "Read", file_path=".env")
    assert decide(asked, [rule("allow", "Read")], around).effect == "ask"
    assert decide(asked, [rule("allow", "Read", ".env")], around).effect == "allow"


WRITING = [
    "echo x > .git/hooks/pre-commit",
    "echo x >> ~/.bashrc",
    "cat > CLAUDE.md <<'E'\nx\nE",
    "cat <<'E' > .envrc\nx\nE",
    "tee .envrc",
    "cp x .git/hooks/pre-commit",
    "cp x .git/{hooks,b}/y",
    "cp x .G*/hooks/",
    "cp -t .husky x",
    "mv a CLAUDE.md",
    "sed -i s/a/b/ .bashrc",
    "ln -s x .vscode",
    "rm -rf .git",
    "touch link-git/hooks/x",
    "dd if=x of=.git/hooks/y",
    "curl -o .npmrc https://example.com/z",
    "sort -o.envrc x",
    "git diff --output=.gitmodules",
    "chmod +x '.git'/hooks/x",
    "sudo -u root install -m755 a .git/hooks/b",
    "bash -c 'echo x > .envrc'",
    "cd .git && cp x hooks/y",
    "cd src; tee ../.envrc",
    "cat .env",
    "cat .e*",
    "git show HEAD:.env",
]
READING = [
    "git status",
    "cat .gitignore CLAUDE.md",
    "ls .git",
    "git add .github/workflows/ci.yml",
    "git commit -m 'Update CLAUDE.md and .envrc'",
    "git log -- CLAUDE.md",
    "echo hi > out.txt",
    "pytest tests && ls",
]


@pytest.mark.parametrize("command", WRITING)
def test_no_wide_rule_for_bash_covers_a_command_that_plainly_writes_one(house, around, command):
    for wide in (
        rule("allow", "Bash"),
        ALLOW_ALL,
        rule("allow", "Bash", "*"),
        rule("allow", "Bash", f"{command[:3]}*"),
    ):
        assert decide(call(house, "Bash", command=command), [wide], around).effect == "ask"


@pytest.mark.parametrize("command", READING)
def test_reading_and_ordinary_writing_stay_allowed(house, around, command):
    assert decide(call(house, "Bash", command=command), [rule("allow", "Bash")], around).effect == "allow"


def test_a_person_may_allow_the_very_command_for_the_session(house, around):
    asked = call(house, "Bash", command="echo x > .git/hooks/pre-commit")
    exact = rule("allow", "Bash", session_pattern(asked))
    assert decide(asked, [exact], around).effect == "allow"
    other = Call(tool_name="Bash", tool_input=json.dumps({"command": "echo y > .envrc"}), directory=asked.directory)
    assert decide(other, [exact], around).effect == "ask"
