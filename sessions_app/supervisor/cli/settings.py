"""The settings given to the CLI, so that it requests permission for everything even where no
callback is registered.

The CLI has rules, modes and readers of its own, and its callback may come late: a resumed call is
replayed before ``initialize`` was read. These settings make its own rules ask first, and keep it
from reading, running or taking in anything that is no tool call. docs/claude-cli.md has the
measurements.
"""

import json
import os
from typing import Any

from approvals.policy import FORBIDDEN_TOOLS
from approvals.policy.protected import SECRET_FILES, SECRET_FOLDERS

KEEP_CONVERSATIONS_DAYS = 3650  # the CLI's own clean-up would remove a dialog after 30

ALWAYS_SET = {
    "TERM": "dumb",
    "CLAUDE_BASH_MAINTAIN_PROJECT_WORKING_DIR": "1",  # each command starts in the session's folder, after any "cd"
    "CLAUDE_CODE_DISABLE_FILE_MENTIONS": "1",  # "@path" in a prompt is text: the CLI would read any file unasked
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "CLAUDE_CODE_MAX_RETRIES": "2",
    "XDG_RUNTIME_DIR": "/proc",  # no folder can be made there, so the CLI opens no inbox that others could write to
}
CLOUD_SWITCHES = {"CLAUDE_CODE_USE_BEDROCK": ("AWS_*",), "CLAUDE_CODE_USE_VERTEX": ("GOOGLE_*", "CLOUD_ML_REGION")}

ASKS_FOR_EVERYTHING: dict[str, Any] = {
    "permissions": {
        "ask": ["*", "mcp__*"],
        "deny": list(FORBIDDEN_TOOLS),
        "disableBypassPermissionsMode": "disable",
    },
    "sandbox": {"autoAllowBashIfSandboxed": False},  # else a sandboxed command passes the rule above
    "crossSessionInbound": "refuse",  # the CLI's own socket accepts no prompts
}
NOTHING_BY_ITSELF: dict[str, Any] = {
    "disableAllHooks": True,
    "disableSkillShellExecution": True,
    "apiKeyHelper": "",
    "awsAuthRefresh": "",
    "awsCredentialExport": "",
    "gcpAuthRefresh": "",
    "otelHeadersHelper": "",
    # memory files import others by @path; the policy would not let the agent read these
    "claudeMdExcludes": [
        *(f"**/{pattern}" for pattern in SECRET_FILES),
        *(f"**/{folder}/**" for folder in sorted(SECRET_FOLDERS)),
    ],
}
"""Switches off what settings files and extensions could run without a tool call that the policy
evaluates.

The CLI's callbacks and the memory files (CLAUDE.md) stay; see docs/security.md.
"""
FIXED = (
    "ANTHROPIC_BASE_URL", "ANTHROPIC_BEDROCK_BASE_URL", "ANTHROPIC_VERTEX_BASE_URL",
    *CLOUD_SWITCHES, "CLAUDE_CODE_ENABLE_TELEMETRY",
)  # fmt: skip
"""Variables that a settings file of the project must not change."""


def cli_settings(*, is_opened: bool) -> str:
    """The value of ``--settings``, JSON text; it goes before those of any file.

    ``is_opened`` says that the CLI reads settings files at all. A value that the CLI does not take
    (null, for one) makes it ignore the whole document silently; the self-test would find that.
    """
    given = {"cleanupPeriodDays": KEEP_CONVERSATIONS_DAYS, **ASKS_FOR_EVERYTHING, **NOTHING_BY_ITSELF}
    if is_opened:
        given["env"] = {name: os.environ.get(name, "") for name in FIXED} | ALWAYS_SET
    return json.dumps(given)
