"""Finding agents on this host: which CLI, which version, whether somebody is logged in.

Facts about the CLI, measured on 2.1.330: ``--version`` answers in 0.03 s; ``auth status`` works offline, prints JSON
and exits 1 when nobody is logged in.
"""

import json
import logging
import os
import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db.models.functions import Now

from sessions_app.agents.cli_versions import OLDEST_FIT, untested_words, version_of
from sessions_app.agents.login import login_words
from sessions_app.agents.selftest import Inconclusive, reason_it_is_unfit
from sessions_app.demo_agent import VERSION as DEMO_VERSION
from sessions_app.models import Agent
from sessions_app.supervisor.launch import cli_path, inherited_environment

logger = logging.getLogger(__name__)

PROBE_TIMEOUT_S = 10.0
LONGEST_ANSWER = 65536
INSTALL = "npm install -g @anthropic-ai/claude-code@2.1.330"

_testing = threading.Lock()

ST = Agent.Status


@dataclass(frozen=True, slots=True, kw_only=True)
class CliFacts:
    """What is known of a CLI; ``detail`` says in one sentence what is wrong, if anything is."""

    path: str = ""
    version: str = ""
    status: str = ST.MISSING
    logged_in: bool | None = None
    detail: str = ""


def find_cli(timeout_s: float = PROBE_TIMEOUT_S) -> CliFacts:
    """Look for the configured CLI and ask it who it is. Never raises and never repeats a secret."""
    path = cli_path()
    if path is None:
        return CliFacts(detail=f"No Claude Code CLI was found; install it with: {INSTALL}")
    found = re.match(r"(\d+)\.(\d+)\.(\d+)\b", _told([path, "--version"], timeout_s))
    if found is None:
        return CliFacts(
            path=path, status=ST.UNFIT, detail="The program does not tell its version; is it the Claude Code CLI?"
        )
    version = found[0]
    if version_of(version) < OLDEST_FIT:
        oldest = ".".join(map(str, OLDEST_FIT))
        detail = f"Version {version} is too old; Orchestra needs {oldest} or newer. Update with: {INSTALL}"
        return CliFacts(path=path, version=version, status=ST.UNFIT, detail=detail)
    if not _logged_in(path, timeout_s):
        return CliFacts(path=path, version=version, status=ST.NOT_LOGGED_IN, logged_in=False, detail=login_words())
    return CliFacts(path=path, version=version, status=ST.READY, logged_in=True, detail=untested_words(version))


def discover_agents() -> list[Agent]:
    """Look again and keep what was found; one row per agent of this host. For those that run agents: see ``look``."""
    logger.info("Agent discovery started")
    return [_keep(agent) for agent in look()]


def look() -> list[Agent]:
    """What this process finds on this host, unsaved: another account, or another environment, may find otherwise."""
    demo = CliFacts(
        version=DEMO_VERSION, status=ST.READY, logged_in=True, detail="A scripted demo; no model is behind it."
    )
    return [_seen("claude", find_cli()), _seen("demo", demo)]


def check_agents(agents: Iterable[Agent]) -> None:
    """Have every program that has not been tested yet prove that it waits when it is held.

    A CLI that does not is unfit and is not used, until another program stands in its place.
    """
    logger.info("Health check service started")
    for agent in agents:
        program = _fingerprint(agent)
        if agent.name == "demo" or not program or agent.tested == program:
            continue
        with _testing:
            agent.refresh_from_db(fields=["tested"])
            if agent.tested == program:
                continue  # by another thread, meanwhile
            _test(agent, program)


def _test(agent: Agent, program: str) -> None:
    try:
        problem = reason_it_is_unfit()
    except Inconclusive as error:
        logger.warning("agent %s on %s: the self-test is tried again later: %s", agent.name, agent.host, error)
        return
    if problem:
        logger.critical("agent %s on %s is unfit: %s", agent.name, agent.host, problem)
        agent.status, agent.detail = ST.UNFIT, problem
    agent.tested, agent.tested_problem = program, problem
    agent.save(update_fields=["status", "detail", "tested", "tested_problem"])


def unfit_reason(name: str) -> str:
    """Why this agent must not be used on this host; empty if nothing is known against it.

    A program that stands in the place of one that was discovered proves itself first, here and now if need be.
    """
    agent = Agent.objects.filter(name=name, host=settings.ORCHESTRA.hostname).first()
    if agent is None or name == "demo":
        return ""
    if agent.status != ST.UNFIT and agent.tested != _fingerprint(agent):
        check_agents([found for found in discover_agents() if found.name == name])
        agent.refresh_from_db()
        if agent.path and agent.tested != _fingerprint(agent):
            return "The self-test of this CLI came to no end; it is tried again with the next message."
    return agent.detail if agent.status == ST.UNFIT else ""


def _fingerprint(agent: Agent) -> str:
    """What tells a program from its successor in the same place; empty without a program."""
    if not agent.path:
        return ""
    try:
        found = Path(agent.path).stat()
    except OSError:
        return ""
    return f"{agent.version} {found.st_size} {found.st_mtime_ns}"


def _seen(name: str, facts: CliFacts) -> Agent:
    """What is known of the agent, with what was found now; a program that failed its test stays unfit."""
    known = Agent.objects.filter(name=name, host=settings.ORCHESTRA.hostname).first()
    agent = known or Agent(name=name, host=settings.ORCHESTRA.hostname)
    agent.path, agent.version, agent.status = facts.path, facts.version, facts.status
    agent.logged_in, agent.detail = facts.logged_in, facts.detail[:500]
    if agent.tested_problem and agent.tested == _fingerprint(agent):
        agent.status, agent.detail = ST.UNFIT, agent.tested_problem
    return agent


def _keep(seen: Agent) -> Agent:
    before = Agent.objects.filter(name=seen.name, host=seen.host).values_list("status", "version").first()
    found = {field: getattr(seen, field) for field in ("path", "version", "status", "logged_in", "detail")}
    found["last_seen_at"] = Now()
    agent, _ = Agent.objects.update_or_create(name=seen.name, host=seen.host, defaults=found)
    if before != (agent.status, agent.version):
        logger.info("agent %s on %s is %s %s", agent.name, agent.host, agent.status, agent.version)
    return agent


def _logged_in(path: str, timeout_s: float) -> bool:
    told = _told([path, "auth", "status"], timeout_s)
    try:
        return bool(json.loads(told)["loggedIn"] is True)
    except (ValueError, KeyError, TypeError):
        return False


def _told(command: list[str], timeout_s: float) -> str:
    """What a short command of the CLI prints in an agent's environment; nothing if it hangs or cannot start.

    Into a file, not a pipe: a grandchild that keeps a pipe open would hold us long after the CLI was killed.
    """
    with tempfile.TemporaryFile() as out:
        try:
            process = subprocess.Popen(
                command,
                env=inherited_environment(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError:
            return ""
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # not reaped yet, so the group is still ours
            process.wait()
            return ""
        out.seek(0)
        return out.read(LONGEST_ANSWER).decode(errors="replace")
