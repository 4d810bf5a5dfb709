"""Commands that a person types load less than a server process, so that they start faster."""

import sys
from pathlib import Path

from django.conf import settings

COMMANDS = frozenset({"approvals", "session", "create_token", "sign_in_link", "stop", "resume"})


def is_light() -> bool:
    """Return whether this process is such a command.

    It connects the receivers of changes, and does not load pages, probes, metrics and checks, whose
    import takes longer than the command itself.
    """
    typed = len(sys.argv) > 1 and Path(sys.argv[0]).name == "manage.py"
    return typed and sys.argv[1] in COMMANDS and not settings.ORCHESTRA.process
