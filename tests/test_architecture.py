"""Rules of the code that no linter knows; who may import whom is kept by import-linter (pyproject.toml)."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
APPS = ("config", "console", "sessions_app", "escalation", "approvals", "orchestra")


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


def test_the_runner_needs_the_standard_library_and_a_few_small_modules_of_ours() -> None:
    small = ("orchestra.runtime.embedded", "orchestra.logs.file", "orchestra.logs.redaction")
    for name in ("orchestra.runtime.runner", "orchestra.logs.file", "orchestra.logs.redaction"):
        for line, imported in imports((TOP / name.replace(".", "/")).with_suffix(".py")):
            ours = imported.startswith(small)
            assert ours or imported.split(".")[0] in sys.stdlib_module_names, f"{name}:{line} imports {imported}"


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
        for app in APPS
        for path in modules(app)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call | ast.Subscript) and ast.unparse(node).startswith(("os.environ", "os.getenv"))
        for name in ast.walk(node)
        if isinstance(name, ast.Constant) and str(name.value).startswith(ours)
    ]
    assert found == []


GIVES_POWER = (
    r"\b(Rule|User|Group|Permission|AuthToken|SignInLink|Schedule|PeriodicTask|Approver|tokens|rules_in_force)\b"
)
SILENT = {"update", "aupdate", "bulk_create", "abulk_create", "bulk_update", "abulk_update", "_raw_delete"}
# Statements that send no signal, in functions that know models whose changes are audited; each with its reason.
ACCOUNTED_FOR = {
    "approvals/commands.py:revoke_session_rule": "writes its own entry",
    "approvals/after_restore.py:_end_rules": "writes its own entry",
    "config/beat.py:_make_sweeps_due": "when it is due next",
    "escalation/commands.py:link_approver": "uses a code up; the link itself is saved",
    "escalation/commands.py:mute_approver": "no power: sound and reminders",
    "orchestra/auth/sign_in_links.py:sign_in": "uses a link up",
    "orchestra/backup/after_restore.py:reset_after_restore": "ends leases; links are deleted",
    "sessions_app/supervisor/permissions.py:_rule_still_counts": "how often a rule was used",
    "sessions_app/commands.py:_allow_in_advance": "writes its own entry",
    "sessions_app/schedules/commands.py:reset_due_times": "when it is due next",
    "sessions_app/schedules/commands.py:start_due": "when it is due next",
}


def silent_changes(top: Path) -> set[str]:
    """Functions that write without a signal and name a model that gives power."""
    found = set()
    for app in APPS:
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
