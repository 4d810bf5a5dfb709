"""What Orchestra tells the CLI about itself, so that it asks for everything even where no callback is registered.

The CLI has rules, modes and readers of its own. Its callback may come late (a resumed call is replayed before
``initialize`` was read), so these settings make the CLI's own rules ask first. docs/claude-cli.md has the measurements.
"""

import json

from approvals.policy import NEVER

KEEP_CONVERSATIONS_DAYS = 3650  # the CLI's own clean-up would remove a dialog after 30

EVERYTHING = ("*", "mcp__*")


def cli_settings() -> str:
    """The value of ``--settings``: JSON text."""
    return json.dumps(
        {
            "cleanupPeriodDays": KEEP_CONVERSATIONS_DAYS,
            "crossSessionInbound": "refuse",  # nobody writes prompts into the session through the CLI's own socket
            "permissions": {
                "ask": list(EVERYTHING),
                "deny": list(NEVER),
                "disableBypassPermissionsMode": "disable",
            },
            "sandbox": {"autoAllowBashIfSandboxed": False},  # else a sandboxed command passes the rule above
        }
    )
