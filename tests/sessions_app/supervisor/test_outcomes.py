"""How turns end, judged over recorded results and exits."""

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sessions_app.models import Turn
from sessions_app.supervisor.cli.api_failures import explain_status
from sessions_app.supervisor.cli.protocol import Result
from sessions_app.supervisor.outcomes import PARKED, Outcome, from_exit, from_result
from tests.sessions_app.supervisor.recordings import results_of
from tests.sessions_app.supervisor.test_speech import json_values

T = Turn.Status

ENDS = {
    "d_allow": [(T.COMPLETED, ""), (T.COMPLETED, "")],
    "d_deny": [(T.COMPLETED, "")],
    "d_deny_interrupt": [(T.INTERRUPTED, "interrupted"), (T.COMPLETED, "")],
    "d_three_prompts_then_eof": [(T.COMPLETED, ""), (T.COMPLETED, "")],
    "f_interrupt_while_permission_pending": [(T.INTERRUPTED, "interrupted"), (T.COMPLETED, "")],
    "f_interrupt_while_streaming": [(T.INTERRUPTED, "interrupted"), (T.COMPLETED, "")],
    "h_sigint_while_bash_runs": [(T.INTERRUPTED, "interrupted")],
    "g_max_budget": [(T.FAILED, "budget_exhausted")],
    "g_max_turns": [(T.FAILED, "max_turns")],
    "h_api_400": [(T.FAILED, "prompt_too_long")],
    "h_api_401": [],
    "h_api_429_twice_then_ok": [(T.COMPLETED, "")],
    "h_api_500_twice_then_ok": [(T.COMPLETED, "")],
    "h_api_529_twice_then_ok": [(T.COMPLETED, "")],
    "h_api_529_forever_max_retries_2": [(T.FAILED, "api_overloaded")],
    "h_api_connection_refused": [(T.FAILED, "api_unreachable")],
    "h_resume_unknown": [(T.FAILED, "conversation_lost")],
    "h_sigkill_mid_stream": [],
    "i_sdkhook_defer": [(PARKED, "")],
    "i_sdkhook_defer_parallel": [(PARKED, "")],
    "i_defer_resume_hook_defer_again": [(PARKED, "")],
    "i_defer_resume_hook_deny": [(T.COMPLETED, "")],
    "i_defer_resume_tool_unavailable": [(T.FAILED, "tool_unavailable")],
}


@pytest.mark.parametrize("name", ENDS)
def test_recorded_results_are_judged_by_what_they_say_and_not_by_success(name: str) -> None:
    outcomes = [from_result(result) for result in results_of(name)]
    assert [(outcome.status, outcome.code) for outcome in outcomes] == ENDS[name]
    for outcome in outcomes:
        if outcome.status == T.FAILED:
            assert outcome.detail.endswith((".", ")")) or ":" in outcome.detail


def test_the_answer_of_a_turn_is_kept() -> None:
    [first, second] = [from_result(result) for result in results_of("d_three_prompts_then_eof")]
    assert first.text and second.text


def test_figures_are_those_of_the_turn_and_not_of_the_dialog() -> None:
    results = results_of("d_allow")
    totals = [result.body["total_cost_usd"] for result in results]
    costs = [from_result(result).cost_usd for result in results]
    assert totals[1] > totals[0]  # the CLI's own total grows
    assert math.isclose(sum(costs), totals[-1])
    over = from_result(results_of("g_max_budget")[0])
    assert (over.cost_usd, over.input_tokens, over.output_tokens) == (1.4, 100_000, 50_000)


def test_a_resume_that_only_defers_again_costs_nothing() -> None:
    [again] = [from_result(result) for result in results_of("i_defer_resume_hook_defer_again")]
    assert (again.cost_usd, again.input_tokens, again.output_tokens) == (0, 0, 0)


@pytest.mark.parametrize(
    ("exit_code", "stderr", "spoke", "code", "says"),
    [
        (0, "", False, "agent_died", "before it said anything with exit code 0"),
        (1, "error: unknown option '--no-such-flag'\n", False, "agent_died", "unknown option"),
        (1, "boom", True, "agent_died", "in the middle of its work"),
        (-9, "", True, "agent_killed", "SIGKILL"),
        (137, "", True, "agent_killed", "SIGKILL"),
        (143, "", True, "agent_killed", "SIGTERM"),
        (-11, "", True, "agent_killed", "SIGSEGV"),
        (255, "", True, "agent_killed", "signal 127"),
        (1, "No conversation found with session ID: 9\n", False, "conversation_lost", "start a new session"),
        (1, "Error: Session ID 1 is already in use.\n", False, "conversation_in_use", "another process"),
    ],
)
def test_an_end_without_a_last_word_is_explained(
    exit_code: int, stderr: str, spoke: bool, code: str, says: str
) -> None:
    outcome = from_exit(exit_code, stderr, has_output=spoke)
    assert (outcome.status, outcome.code) == (T.FAILED, code)
    assert says in outcome.detail


def test_only_the_end_of_a_long_stderr_is_told() -> None:
    assert len(from_exit(1, "x" * 10_000 + "the end", has_output=True).detail) < 500
    assert "the end" in from_exit(1, "x" * 10_000 + "the end", has_output=True).detail


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "api_unauthorized"),
        (403, "api_unauthorized"),
        (429, "api_rate_limited"),
        (None, "api_unreachable"),
        (529, "api_overloaded"),
        (500, "api_error"),
        (400, "api_error"),
        ([], "api_error"),
    ],
)
def test_a_failure_of_the_model_api_has_a_code_and_a_sentence(status: object, code: str) -> None:
    found, detail = explain_status(status, "" if status is None else "Overloaded")
    assert found == code
    assert detail[0].isupper()


usage = st.one_of(
    json_values,
    st.dictionaries(
        st.sampled_from(["m", "n"]),
        st.one_of(
            json_values,
            st.dictionaries(st.sampled_from(["inputTokens", "outputTokens", "costUSD", "input_tokens"]), json_values),
        ),
    ),
)
bodies = st.dictionaries(
    st.sampled_from(["is_error", "result", "errors", "terminal_reason", "stop_reason", "api_error_status"]), json_values
).flatmap(
    lambda known: st.fixed_dictionaries(
        {name: st.just(value) for name, value in known.items()},
        optional={"usage": usage, "model_usage_since_last_result": usage},
    )
)


@given(bodies)
@example(
    {
        "model_usage_since_last_result": {
            "m": {"costUSD": float("nan"), "inputTokens": float("inf"), "outputTokens": 10**400}
        }
    }
)
@example({"is_error": True, "errors": 7})
@example({"usage": {"input_tokens": -5, "output_tokens": True}})
def test_no_shape_of_a_result_breaks_the_judgement_or_the_figures(body: dict[str, Any]) -> None:
    outcome = from_result(Result(body))
    assert isinstance(outcome, Outcome)
    assert outcome.status in (PARKED, T.COMPLETED, T.INTERRUPTED, T.FAILED)
    assert math.isfinite(outcome.cost_usd) and outcome.cost_usd >= 0
    assert 0 <= outcome.input_tokens < 2**63 and 0 <= outcome.output_tokens < 2**63
    json.dumps([outcome.text, outcome.detail])
