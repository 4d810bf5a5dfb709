"""How a turn ended: a code for programs and a sentence for people. Pure."""

import signal
from dataclasses import asdict, dataclass, replace
from typing import Any

from sessions_app.models import Turn
from sessions_app.prompts.slash_commands import UNAVAILABLE_REPLY
from sessions_app.supervisor.cli.api_failures import FRESH_START, explain
from sessions_app.supervisor.cli.protocol import Result

T = Turn.Status
PARKED = "parked"  # the CLI keeps the open call and repeats it when it is resumed
STOPPED = "stopped"  # the process had to go in the middle; another one takes the turn up
UNSENT = "unsent"  # like stopped, but the agent never got the prompt
GOES_ON = frozenset({PARKED, STOPPED, UNSENT})
STDERR_SHOWN = 300
MOST = 1e12  # dollars or tokens; more than that is an error of the CLI


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """``status`` is a turn's final one, or one of ``GOES_ON``. Money is US dollars."""

    status: str
    text: str = ""
    code: str = ""
    detail: str = ""
    cost_usd: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0


INTERRUPTED = Outcome(status=T.INTERRUPTED, code="interrupted", detail="The turn was interrupted.")


@dataclass(slots=True)
class Spent:
    """The total cost of the results of one process, in US dollars and tokens."""

    cost_usd: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0

    def add(self, outcome: Outcome) -> None:
        """Count one more result."""
        self.cost_usd += outcome.cost_usd
        self.input_tokens += outcome.input_tokens
        self.output_tokens += outcome.output_tokens

    def figures(self) -> dict[str, Any]:
        """Return the sums by the names of the fields of ``Outcome``."""
        return asdict(self)


def from_result(result: Result) -> Outcome:
    """Return the outcome that a result of the CLI means. ``subtype: success`` alone means nothing."""
    body, figures = result.body, spent(result.body)
    text = body["result"] if isinstance(body.get("result"), str) else ""
    if result.reason == "tool_deferred":
        return Outcome(status=PARKED, **figures)
    if not result.reason and UNAVAILABLE_REPLY.fullmatch(text):
        why = f"{text.rstrip('.')}, and the model was not asked. Put a blank before the slash to send it as text."
        return Outcome(status=T.FAILED, text=text, code="command_refused", detail=why, **figures)
    if not result.is_error and body.get("stop_reason") != "refusal":
        return Outcome(status=T.COMPLETED, text=text, **figures)
    if result.reason.startswith("aborted"):
        return replace(INTERRUPTED, **figures)
    code, detail = _failure(body, result.reason, text)
    return Outcome(status=T.FAILED, text=text, code=code, detail=detail, **figures)


def _failure(body: dict[str, Any], reason: str, text: str) -> tuple[str, str]:
    given = body.get("errors")
    errors = "; ".join(e for e in given if isinstance(e, str))[:STDERR_SHOWN] if isinstance(given, list) else ""
    if reason == "max_turns":
        return "max_turns", "The agent reached the number of steps it was given (max_turns)."
    if reason == "budget_exhausted":
        return "budget_exhausted", "The agent spent the money it was given (max_budget_usd)."
    if reason == "prompt_too_long":
        return "prompt_too_long", f"The conversation has become too long for the model; {FRESH_START}."
    if reason == "tool_deferred_unavailable":
        return "tool_unavailable", "The tool that was waiting for an answer no longer exists."
    if reason in ("api_error", "image_error") or body.get("stop_reason") == "refusal":
        return explain(body)
    if "No conversation found" in errors:
        return "conversation_lost", "The CLI no longer has this conversation; start a new session."
    return "agent_error", f"The agent ended with an error: {errors or text or reason or 'no reason given'}"


def from_exit(exit_code: int, stderr: str, *, has_output: bool) -> Outcome:
    """Return the outcome of a process that ended without a result."""
    written = stderr.strip()[-STDERR_SHOWN:]
    tail = f" It said: {written}" if written else ""
    if "No conversation found" in stderr:
        detail = "The CLI no longer has this conversation; start a new session."
        return failed("conversation_lost", detail)
    if "already in use" in stderr:
        return failed("conversation_in_use", "The CLI says that another process uses this conversation.")
    if exit_code < 0 or exit_code > 128:
        number = -exit_code if exit_code < 0 else exit_code - 128
        return failed("agent_killed", f"The agent's process was ended by {_signal_name(number)}.{tail}")
    when = "in the middle of its work" if has_output else "before it said anything"
    return failed("agent_died", f"The agent's process ended {when} with exit code {exit_code}.{tail}")


def failed(code: str, detail: str) -> Outcome:
    """Return the outcome of a turn that Orchestra ends as failed."""
    return Outcome(status=T.FAILED, code=code, detail=detail)


def spent(body: dict[str, Any]) -> dict[str, Any]:
    """Return the cost and tokens of this turn alone.

    ``total_cost_usd`` and ``modelUsage`` grow over resumes, so the figures since the last result
    are taken; ``usage`` is per turn in every release.
    """
    since = body.get("model_usage_since_last_result")
    if isinstance(since, dict):
        models = [usage for usage in since.values() if isinstance(usage, dict)]
        inputs = ("inputTokens", "cacheReadInputTokens", "cacheCreationInputTokens")
        return {
            "cost_usd": sum(_number(usage.get("costUSD")) for usage in models),
            "input_tokens": int(sum(_number(usage.get(name)) for usage in models for name in inputs)),
            "output_tokens": int(sum(_number(usage.get("outputTokens")) for usage in models)),
        }
    given = body.get("usage")
    usage: dict[str, Any] = given if isinstance(given, dict) else {}
    inputs = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    return {
        "cost_usd": 0.0,
        "input_tokens": int(sum(_number(usage.get(name)) for name in inputs)),
        "output_tokens": int(_number(usage.get("output_tokens"))),
    }


def _number(value: object) -> float:
    """Return a number between 0 and what a column holds."""
    return float(min(value, MOST)) if isinstance(value, (int, float)) and value > 0 else 0.0


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
