"""The file into which the CLI has the model write a plan, and the plan that people approve.

In plan mode the CLI names one file to the model, ``<its folder>/plans/<some words>.md``, and reads
the plan from there: ``ExitPlanMode`` itself comes with an empty input (2.1.330). Exactly that file
may be written without an approval.
"""
# The paths here are text that an agent wrote; pathlib would normalize what must be compared.
# ruff: noqa: PTH111, PTH114, PTH118

import os
import re
import stat
from uuid import UUID

from approvals.models import Approval
from approvals.policy import parsed_arguments
from sessions_app.supervisor.cli.launch import inherited_environment
from sessions_app.supervisor.cli.plan_mode import LEAVES, is_in_plan_mode
from sessions_app.supervisor.cli.protocol import ToolRequest
from sessions_app.supervisor.leases import Claim

WRITING_TOOLS = ("Write", "Edit")
TOOLS = (*WRITING_TOOLS, "Read")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}\.md")
LARGEST_PLAN = 1_000_000  # bytes
MOST_WRITES = 200  # of one session, looked at from the newest on
NO_PLAN = (
    "the plan is empty, so there is nothing a person could approve; write it to the plan file, or say it in a "
    "message, then call ExitPlanMode again"
)


def plans_folder() -> str:
    """Return the folder of the CLI's plan files, as the CLI writes that path; empty if that is not
    known.
    """
    env = inherited_environment(os.environ)
    home = env.get("HOME") or os.path.expanduser("~")
    return os.path.join(env.get("CLAUDE_CONFIG_DIR") or os.path.join(home, ".claude"), "plans")


def own_plan_file(claim: Claim, request: ToolRequest) -> str:
    """Return the real path of the session's own plan file if this call of the main agent is about
    it in plan mode.
    """
    if request.tool_name not in TOOLS or request.agent_id:
        return ""
    real = plan_path(parsed_arguments(request.tool_input).get("file_path"))
    if not real or not is_in_plan_mode(claim.session_id, claim.options):
        return ""
    written = _written_by(claim.session_id)
    is_new = not written and not os.path.lexists(real) and request.tool_name == "Write"
    return real if (is_new or written == {real}) and not _is_being_read(claim.session_id) else ""


def plan_path(path: object) -> str:
    """Return the real path of a file that may be a plan of the CLI's; empty for every other path.

    It lies in the folder itself and is no link of any kind, and its path passes no other folder.
    """
    if not isinstance(path, str) or not path.endswith(".md"):
        return ""
    folder = plans_folder()
    if os.path.islink(folder):
        return ""
    above, name = os.path.split(path)
    if above not in (folder, os.path.realpath(folder)) or not NAME.fullmatch(name):
        return ""
    real = os.path.join(os.path.realpath(folder), name)
    try:
        found = os.lstat(real)
    except FileNotFoundError:
        return real
    except OSError:
        return ""
    return real if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 else ""


def plan_of(claim: Claim, request: ToolRequest, *, given: str, last_text: str) -> str:
    """Return the plan that ``request`` submits for approval; empty if there is none.

    ``given`` is what the model wrote into its call, ``last_text`` what it wrote before it.
    """
    if request.tool_name != LEAVES:
        return given
    in_call = parsed_arguments(request.tool_input).get("plan")
    for plan in (in_call if isinstance(in_call, str) else "", given, _in_file(claim.session_id), last_text):
        if plan.strip():
            return plan
    return ""


def _in_file(session_id: UUID) -> str:
    """Return the content of the plan file that the session wrote."""
    for real in _written_by(session_id):
        try:
            with os.fdopen(os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                return file.read(LARGEST_PLAN).decode("utf-8", "replace")
        except OSError:
            continue
    return ""


def _written_by(session_id: UUID) -> set[str]:
    """Return the plan files that calls of this session were allowed to write."""
    calls = Approval.objects.filter(session=session_id, tool_name__in=WRITING_TOOLS, consumed_at__isnull=False)
    inputs = calls.order_by("-created_at").values_list("tool_input", "updated_input")[:MOST_WRITES]
    paths = (plan_path(_path_in(updated or asked)) for asked, updated in inputs)
    return {path for path in paths if path}


def _path_in(tool_input: str) -> object:
    return parsed_arguments(tool_input).get("file_path") if "plans" in tool_input else None


def _is_being_read(session_id: UUID) -> bool:
    """Whether a plan of this session is pending: its file must not change while people read it."""
    return Approval.objects.filter(session=session_id, kind=Approval.Kind.PLAN, status=Approval.Status.PENDING).exists()
