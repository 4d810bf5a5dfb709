"""Working directories of sessions."""

from pathlib import Path
from uuid import UUID

from django.conf import settings

from orchestra.errors import Unavailable
from sessions_app.errors import InvalidSession

FOLDER_MODE = 0o700


def working_directory_for(session_id: UUID, requested: str) -> str:
    """The real path that a session works in: the requested one, or a new folder in the first root.

    Raises:
        InvalidSession: the path does not exist, is no folder, or leads outside every root (symbolic
            links are resolved first).
        Unavailable: the new folder cannot be made, for example because the disk is full.
    """
    if not requested:
        fresh = settings.AGENTS.working_roots[0] / f"session-{str(session_id)[:8]}"
        try:
            fresh.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"A folder to work in could not be made: {error.strerror}.") from error
        return str(fresh)
    problem = directory_problem(requested)
    if problem:
        raise InvalidSession(problem, {"working_directory": [problem]})
    return str(Path(requested).resolve())


def directory_problem(path: str) -> str:
    """Why an agent may not work in ``path``, in one sentence; empty if it may.

    The supervisor checks this again before each spawn.
    """
    if not path.startswith("/") or "\0" in path:
        return "The working directory must be an absolute path."
    real = Path(path).resolve()
    if not any(real.is_relative_to(root) for root in settings.AGENTS.working_roots):
        roots = ", ".join(str(root) for root in settings.AGENTS.working_roots)
        return f"The working directory is outside the folders agents may work in: {roots} (AGENT_WORKING_ROOTS)."
    if not real.is_dir():
        return "The working directory does not exist or is not a folder."
    return ""
