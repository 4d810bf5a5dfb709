"""Commands that a person types and waits for start with less than a server process."""

import sys
from pathlib import Path

from django.conf import settings

COMMANDS = frozenset({"approvals", "session", "create_token", "sign_in_link", "stop", "resume"})


def is_light() -> bool:
    """Whether this process is such a command: it connects what follows from a change of rows, and nothing that only
    pages, probes, figures and checks need. Loading those takes longer than the command itself.
    """
    typed = len(sys.argv) > 1 and Path(sys.argv[0]).name == "manage.py"
    return typed and sys.argv[1] in COMMANDS and not settings.ORCHESTRA.process
