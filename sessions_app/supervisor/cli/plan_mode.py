"""Tells whether a dialog is in plan mode, which a new process of the CLI does not know."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from approvals.models import Approval

ENTERS, LEAVES = "EnterPlanMode", "ExitPlanMode"


def is_in_plan_mode(session_id: UUID, options: Mapping[str, Any]) -> bool:
    """Whether the next process must start in plan mode: as the request says, until an approved call
    changed it.

    Measured on 2.1.330: ``--permission-mode=plan`` given again after an approved plan puts the
    dialog back into plan mode, where the CLI refuses what people approve ("auto mode has no safety
    result").
    """
    changes = Approval.objects.filter(session=session_id, tool_name__in=(ENTERS, LEAVES), consumed_at__isnull=False)
    last = changes.order_by("consumed_at").values_list("tool_name", flat=True).last()
    return options.get("permission_mode") == "plan" if last is None else last == ENTERS
