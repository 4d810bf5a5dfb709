"""The policy engine: decides allow, deny or ask for one tool call. Pure, apart from resolving
symbolic links.

The order is guardrails, deny rules, ask rules, allow rules, defaults. No rule and no person lifts a
guardrail.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from approvals.models import Rule
from approvals.policy.guardrails import examine
from approvals.policy.protected import is_secret
from approvals.policy.rules import matches
from approvals.policy.surroundings import Surroundings
from approvals.policy.tool_call import Call, inside, resolve

ALLOW, DENY, ASK = Rule.Effect.ALLOW, Rule.Effect.DENY, Rule.Effect.ASK

ALWAYS_PASS = frozenset(
    # The CLI renamed Task to Agent in 2.1.197. SubagentHandback returns a sub-agent's report to its
    # caller.
    {"ToolSearch", "TaskStop", "ListAgents", "Task", "Agent", "SubagentHandback"}
)
AGENTS = frozenset({"Task", "Agent"})
# A sub-agent with other arguments, such as isolation, makes a checkout and a branch before its
# first request.
AGENT_ARGUMENTS = frozenset({"description", "prompt", "subagent_type", "run_in_background", "model"})
ALWAYS_ASK = frozenset({"AskUserQuestion", "ExitPlanMode"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDecision:
    """``effect`` is allow, deny or ask.

    ``source`` is guardrail, rule, plan or default; ``rule`` is set for a rule.
    """

    effect: str
    reason: str
    source: str
    rule: Rule | None = None


def decide(call: Call, rules: Iterable[Rule], around: Surroundings) -> PolicyDecision:
    """Decide ``call`` as far as the policy can; ``around`` is what the guardrails protect."""
    found = examine(call, around)
    if found.refusal:
        return PolicyDecision(effect=DENY, reason=found.refusal, source="guardrail")
    doubt = found.doubt or ("only a person can answer it" if call.tool_name in ALWAYS_ASK else "")
    by_effect: dict[str, list[Rule]] = {DENY: [], ASK: [], ALLOW: []}
    for rule in rules:
        by_effect.get(rule.effect, []).append(rule)
    for effect in (DENY, ASK) if doubt else (DENY, ASK, ALLOW):
        matching = next((rule for rule in by_effect[effect] if matches(rule, call)), None)
        if matching:
            reason = matching.note or f"a standing rule says {effect}: {matching}"
            return PolicyDecision(effect=effect, reason=reason, source="rule", rule=matching)
    return PolicyDecision(effect=ASK, reason=doubt, source="default") if doubt else _default(call, around)


def _default(call: Call, around: Surroundings) -> PolicyDecision:
    if around.plan_file and call.real_paths == [around.plan_file] and call.has_only_the_usual:
        return PolicyDecision(effect=ALLOW, reason="the CLI's own plan file, in plan mode", source="plan")
    if call.tool_name in ALWAYS_PASS and not (call.tool_name in AGENTS and set(call.arguments) - AGENT_ARGUMENTS):
        return PolicyDecision(effect=ALLOW, reason="harmless by itself", source="default")
    if call.tool_name == "Read" and _readable(call):
        return PolicyDecision(effect=ALLOW, reason="reading inside the working directory", source="default")
    return PolicyDecision(effect=ASK, reason="a person decides", source="default")


def _readable(call: Call) -> bool:
    path = call.arguments.get("file_path")
    if not call.directory or not isinstance(path, str) or not path:
        return False
    real = resolve(path, call.directory)
    return inside(real, call.directory) and not is_secret(real)
