"""The map of who may import whom, read from the code itself."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
# config knows every app; nobody knows config; the two in the middle never know each other
MAP = {
    "orchestra": set[str](),
    "approvals": {"orchestra"},
    "sessions_app": {"approvals", "orchestra"},
    "escalation": {"approvals", "orchestra"},
    "config": {"approvals", "escalation", "orchestra", "sessions_app"},
}


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything a module imports, wherever in it and in whichever form."""
    package = path.relative_to(TOP).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level]] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def modules(app: str) -> list[Path]:
    return sorted((TOP / app).rglob("*.py"))


@pytest.mark.parametrize("app", MAP)
def test_imports_point_down_the_map_only(app: str) -> None:
    forbidden = set(MAP) - MAP[app] - {app} | {"tests"}
    found = [
        f"{path.relative_to(TOP)}:{line} imports {name}"
        for path in modules(app)
        for line, name in imports(path)
        if name.split(".")[0] in forbidden
    ]
    assert found == []


def test_the_product_never_imports_the_tests_or_their_tools() -> None:
    tools = {"tests", "pytest", "hypothesis", "schemathesis", "playwright", "claude_agent_sdk"}
    found = [
        f"{path.relative_to(TOP)}:{line} imports {name}"
        for app in MAP
        for path in modules(app)
        for line, name in imports(path)
        if name.split(".")[0] in tools
    ]
    assert found == []


def test_the_runner_needs_the_standard_library_and_a_few_small_modules_of_ours() -> None:
    small = ("embedded", "logfile", "scrub")
    for name in ("runner", "logfile", "scrub"):
        for line, imported in imports(TOP / "orchestra" / f"{name}.py"):
            ours = imported.startswith(tuple(f"orchestra.{module}" for module in small))
            assert ours or imported.split(".")[0] in sys.stdlib_module_names, f"{name}.py:{line} imports {imported}"


def test_only_the_settings_read_our_own_variables() -> None:
    ours = (
        "ORCHESTRA_",
        "APPROVAL_",
        "AGENT_",
        "TELEGRAM_",
        "CIRCUIT_BREAKER_",
        "METRICS_",
        "BACKUP_",
        "ARCHIVE_",
        "RETENTION_",
        "DATABASE_URL",
        "REDIS_URL",
    )
    found = [
        f"{path.relative_to(TOP)}:{node.lineno} reads {name.value}"
        for app in MAP
        for path in modules(app)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call | ast.Subscript) and ast.unparse(node).startswith(("os.environ", "os.getenv"))
        for name in ast.walk(node)
        if isinstance(name, ast.Constant) and str(name.value).startswith(ours)
    ]
    assert found == []


GIVES_POWER = r"\b(Rule|User|Group|AuthToken|SignInLink|Schedule|PeriodicTask|Approver|tokens|rules_in_force)\b"
SILENT = {"update", "aupdate", "bulk_create", "abulk_create", "bulk_update", "abulk_update", "_raw_delete"}
# Statements that send no signal, in functions that know models whose changes are audited; each with its reason.
ACCOUNTED_FOR = {
    "approvals/commands.py:revoke_session_rule": "writes its own entry",
    "approvals/restored.py:_end_rules": "writes its own entry",
    "config/beat.py:_begin_at_once": "when it is due next",
    "escalation/commands.py:link_approver": "uses a code up; the link itself is saved",
    "escalation/commands.py:mute": "no power: sound and reminders",
    "orchestra/sign_in.py:sign_in": "uses a link up",
    "orchestra/restored.py:make_fit": "ends leases; links are deleted",
    "sessions_app/permissions.py:_rule_still_counts": "how often a rule was used",
    "sessions_app/commands.py:_allow_in_advance": "writes its own entry",
    "sessions_app/schedules.py:begin_anew": "when it is due next",
    "sessions_app/schedules.py:start_due": "when it is due next",
}


def silent_changes(top: Path) -> set[str]:
    """Functions that write without a signal and name a model that gives power."""
    found = set()
    for app in MAP:
        for path in (top / app).rglob("*.py"):
            if "migrations" in path.parts:
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    continue
                calls = {call.func.attr for call in ast.walk(node) if _is_method_call(call)}
                if calls & SILENT and re.search(GIVES_POWER, ast.unparse(node)):
                    found.add(f"{path.relative_to(top)}:{node.name}")
    return found


def _is_method_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)


def test_nothing_that_gives_power_changes_without_a_signal_or_an_entry_of_its_own() -> None:
    assert silent_changes(TOP) == set(ACCOUNTED_FOR)


def test_a_silent_change_is_seen(tmp_path: Path) -> None:
    module = tmp_path / "approvals" / "sly.py"
    module.parent.mkdir()
    module.write_text("def sly():\n    Rule.objects.filter(pk=1).update(effect='allow')\n")
    assert silent_changes(tmp_path) == {"approvals/sly.py:sly"}


def test_the_reader_of_imports_sees_every_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.TOP", tmp_path)
    module = tmp_path / "approvals" / "sub" / "deep.py"
    module.parent.mkdir(parents=True)
    module.write_text(
        "import config.settings\n"
        "from sessions_app import models\n"
        "def late():\n    from escalation.policy import whom\n"
        "from ..commands import decide\n"
        "from . import sibling\n"
    )
    assert {name for _, name in imports(module)} == {
        "config.settings",
        "sessions_app.models",
        "escalation.policy.whom",
        "approvals.commands.decide",
        "approvals.sub.sibling",
    }
