"""The risk level of a tool call, from a small table by tool and pattern.

It is a hint for the person who decides; it never allows a call.
"""

import re

from approvals.models import Approval
from approvals.presentation.lookalikes import lookalike_places

LOW, MEDIUM, HIGH = Approval.Risk.LOW, Approval.Risk.MEDIUM, Approval.Risk.HIGH

EDITS, READS = "Write|Edit|MultiEdit|NotebookEdit", "Read|Glob|Grep|LS"
INSTALLERS = r"\b(pip|npm|npx|yarn|apt|apt-get|brew|cargo|gem)\s+\w*\s*(install|add|exec|run)\b|\bnpx\b"
LOOKERS = r"^\s*(ls|pwd|cat|head|tail|wc|echo|whoami|which|git\s+(status|log|diff|show))\b"
NOTHING_COMPOSED = r"(?!.*\s-\S*output)[^;&|<>`$()\r\n]*$"
OTHER_USER = r"\bsudo\b|\bsu\s+-|\bdoas\b|\bchmod\s+(-R\s+)?[0-7]*7[0-7]*\b|\bchown\b"
PUBLISHING = r"\bgit\s+push\b|\bgit\s+reset\s+--hard|\bgit\s+clean\b|\bnpm\s+publish|\btwine\s+upload"
FOREIGN_TEXT = r"\b(curl|wget)\b[^|]*\|\s*(ba|z|da)?sh\b|\beval\b|base64\s+(-d|--decode)"
CONTROLS = r"\b(kill|pkill|killall|systemctl|service|shutdown|reboot|crontab|iptables)\b"
CONFIGURATION = r"(^|/)\.(env|ssh|aws|git|bashrc|profile|zshrc|netrc)|id_rsa|authorized_keys|/etc/"

# The first matching row applies; patterns search the telling argument (command, path, URL).
TABLE: tuple[tuple[str, str, str, str], ...] = (
    ("Bash", r"\brm\s+(-\w*\s+)*-\w*[rf]|\bshred\b|\bmkfs|\bdd\s+.*\bof=", HIGH, "deletes or overwrites data"),
    ("Bash", OTHER_USER, HIGH, "changes rights or acts as another user"),
    ("Bash", FOREIGN_TEXT, HIGH, "runs text it fetched or decoded"),
    ("Bash", PUBLISHING, HIGH, "publishes or discards work"),
    ("Bash", CONTROLS, HIGH, "controls processes or the system"),
    ("Bash", r"\bdrop\s+(table|database)\b|\btruncate\s+table\b|\bdelete\s+from\b", HIGH, "deletes database content"),
    ("Bash", r"\.ssh\b|\.env\b|\.aws\b|\.netrc|id_rsa|id_ed25519|credentials", HIGH, "touches keys or secrets"),
    ("Bash", r"\b(curl|wget|ssh|scp|rsync|nc|ftp)\b", MEDIUM, "talks to the network"),
    ("Bash", INSTALLERS, MEDIUM, "installs or runs foreign code"),
    ("Bash", LOOKERS + NOTHING_COMPOSED, LOW, "only looks"),
    ("Bash", r"", MEDIUM, "runs a command"),
    (EDITS, CONFIGURATION, HIGH, "writes configuration, keys or secrets"),
    (EDITS, r"", MEDIUM, "changes a file"),
    (READS, r"(^|/)\.(env|ssh|aws|netrc)|id_rsa|id_ed25519|credentials|\.pem$|\.key$", HIGH, "reads keys or secrets"),
    (READS, r"", LOW, "only reads"),
    ("WebFetch|WebSearch", r"", MEDIUM, "talks to the network"),
    ("AskUserQuestion|ExitPlanMode|EnterPlanMode", r"", LOW, "asks you something"),
)


LONGEST_READABLE = 8_000


def assess_risk(tool_name: str, telling: str) -> tuple[str, str]:
    """Return the level (low, medium, high) and a short reason; unknown tools are medium.

    A command that is too long for a person to read is high without a search, on which the patterns
    would be slow.
    """
    if len(telling) > LONGEST_READABLE and tool_name == "Bash":
        return HIGH, "too long to be read"
    level, why = next(
        (
            (level, why)
            for tools, pattern, level, why in TABLE
            if re.fullmatch(tools, tool_name) and re.search(pattern, telling, re.IGNORECASE)
        ),
        (MEDIUM, "a tool Orchestra does not know"),
    )
    if level != HIGH and any(True for _ in lookalike_places(telling)):
        return HIGH, "has letters that pass for others"
    return level, why
