"""Starts the agent's process for a claimed turn, or says why it cannot be started."""

import os

from django.conf import settings

from sessions_app.agents.discovery import agent_problem
from sessions_app.agents.setting_files import setting_files_problem
from sessions_app.commands import refuse_settings
from sessions_app.errors import AttachmentRefused, SettingsNotAllowed
from sessions_app.prompts import attachments
from sessions_app.supervisor import leases
from sessions_app.supervisor.cli import conversation_files
from sessions_app.supervisor.cli.launch import CliMissing, Launch, command_line, environment
from sessions_app.supervisor.cli.process import CliProcess
from sessions_app.supervisor.leases import Claim
from sessions_app.supervisor.outcomes import Outcome, failed
from sessions_app.workspace import directory_problem


def attached_texts(claim: Claim) -> list[str] | Outcome:
    """Read the files attached to a claimed turn as texts for the model; return how the turn ends if
    one is refused.
    """
    try:
        return attachments.read_attachments(claim)
    except AttachmentRefused as error:
        return failed(error.code, error.detail)


def start_process(claim: Claim) -> CliProcess | Outcome:
    """Start the agent's process for a claimed turn; return how the turn ends if that is not
    possible.
    """
    problem = directory_problem(claim.directory)  # it may have changed since the request
    if problem:
        return failed("directory_unusable", problem)
    try:  # the requester may have lost the right since
        refuse_settings(claim.options.get("setting_sources"), by=claim.requested_by)
    except SettingsNotAllowed as error:
        return failed(error.code, error.detail)
    if claim.options.get("setting_sources") and (problem := setting_files_problem(claim.directory)):
        return failed("settings_not_allowed", problem)
    unfit = agent_problem(claim.agent)
    if unfit:
        return failed("agent_unfit", unfit)
    launch = Launch(
        conversation=claim.conversation, run_id=claim.run_id, agent=claim.agent, model=claim.model,
        resume=claim.resume, interrupted=claim.interrupted, plan_mode=claim.plan_mode, options=claim.options,
    )  # fmt: skip
    env = environment(launch, os.environ)
    try:
        if claim.replay:
            conversation_files.restore(claim.conversation, env)
        process = CliProcess.spawn(command_line(launch), env, claim.directory)
    except CliMissing as error:
        host = settings.ORCHESTRA.hostname
        detail = f"No Claude Code CLI was found on {host} ({error}); install it, then send the message again."
        return failed("cli_missing", detail)
    except OSError as error:
        return failed("cli_unusable", f"The agent's program could not be started: {error.strerror}.")
    try:
        leases.record_process(claim, process.pid, process.started)
    except BaseException:  # no supervisor would end it
        process.end()
        raise
    return process
