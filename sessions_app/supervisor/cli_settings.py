"""What Orchestra tells the CLI about itself, so that it asks for everything even where no callback is registered.

The CLI has rules, modes and readers of its own. Its callback may come late (a resumed call is replayed before
``initialize`` was read), so these settings make the CLI's own rules ask first. docs/claude-cli.md has the measurements.
"""

import json

from approvals.policy import NEVER

KEEP_CONVERSATIONS_DAYS = 3650  # the CLI's own clean-up would remove a dialog after 30

ASKED_TOOLS = (
    "Agent", "AskUserQuestion", "Bash", "BashOutput", "Edit", "EnterPlanMode", "EnterWorktree", "ExitPlanMode",
    "ExitWorktree", "Glob", "Grep", "KillShell", "LS", "LSP", "ListMcpResourcesTool", "MultiEdit", "NotebookEdit",
    "NotebookRead", "PowerShell", "Read", "ReadMcpResourceTool", "SendMessage", "Skill", "SlashCommand", "Task",
    "TaskCreate", "TaskGet", "TaskList", "TaskOutput", "TaskStop", "TaskUpdate", "TodoWrite", "ToolSearch", "WebFetch",
    "WebSearch", "Write", "mcp__*",
)  # fmt: skip
"""Every tool that any CLI from the oldest fit to the newest tested offers, but for those that are never allowed."""


def cli_settings() -> str:
    """The value of ``--settings``: JSON text."""
    return json.dumps(
        {
            "cleanupPeriodDays": KEEP_CONVERSATIONS_DAYS,
            "crossSessionInbound": "refuse",  # nobody writes prompts into the session through the CLI's own socket
            "permissions": {
                "ask": list(ASKED_TOOLS),
                "deny": list(NEVER),
                "disableBypassPermissionsMode": "disable",
            },
        }
    )
