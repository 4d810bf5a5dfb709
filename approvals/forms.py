"""Parsing of the decision form; the console and the admin share it."""

import json
from dataclasses import asdict, dataclass
from functools import partial
from uuid import UUID

from django.http import QueryDict

from approvals import commands
from approvals.models import Approval
from approvals.presentation import render
from approvals.presentation.reading import why_unread
from approvals.presentation.redacted import shown_of


@dataclass(frozen=True, slots=True)
class FormDecision:
    """A submitted decision; ``updated_input`` and ``answers`` are JSON text, as ``decide_approval``
    takes them.
    """

    decision: str
    reason: str = ""
    note: str = ""
    updated_input: str = ""
    answers: str = ""
    scope: str = Approval.Scope.ONCE
    seen_digest: str = ""


def record_decision(approval_id: UUID, submitted: FormDecision, *, by: str, via: str, address: str) -> Approval:
    """Record the submitted decision; raises what ``decide_approval`` raises."""
    return commands.decide_approval(approval_id=approval_id, by=by, via=via, address=address, **asdict(submitted))


def parse_decision(form: QueryDict, approval: Approval) -> FormDecision | str:
    """Return the submitted decision, or a sentence that says why the form has none."""
    seen, decision = form.get("seen_digest", ""), form.get("decision", "")
    if not seen and approval.input_digest:
        return "The page did not say what you were looking at; load it again."
    if decision == "reject":
        return FormDecision(Approval.Status.REJECTED, reason=form.get("reason", ""), seen_digest=seen)
    if why := why_unread(approval, form.get("read_digest", "")):
        return why
    approved = partial(FormDecision, Approval.Status.APPROVED, note=parse_note(form), seen_digest=seen)
    match decision:
        case "approve" if render.questions_of(approval):
            answers = parse_answers(form, approval)
            return approved(answers=answers) if answers != "{}" else "Answer at least one question, or reject."
        case "approve":
            return approved()
        case "approve_session":
            return approved(scope=Approval.Scope.SESSION)
        case "edit" if "updated_input" not in form:
            return "The page did not say what to run instead; reveal its secrets first, then edit."
        case "edit":
            return approved(updated_input=render.exact_json(form.get("updated_input", "")) or "{}")
    return "Choose what to answer."


def parse_note(form: QueryDict) -> str:
    """Return the note to the agent; PostgreSQL stores no NUL, so it is replaced."""
    return form.get("note", "").replace("\r\n", "\n").replace("\0", "\ufffd").strip()


def parse_answers(form: QueryDict, approval: Approval) -> str:
    """Return JSON text that maps each question's text to its answer; the CLI expects several
    choices joined by commas.

    The form sends a choice as the page showed it, with secrets hidden; it is mapped back to the
    original option.
    """
    given = {}
    hidden = render.questions_of(shown_of(approval).approval)
    for number, question in enumerate(render.questions_of(approval)):
        labels = {
            shown["label"]: option["label"]
            for shown, option in zip(hidden[number]["options"], question["options"], strict=True)
        }
        chosen = [labels.get(label, label) for label in form.getlist(f"answer_{number}")]
        words = [*chosen, form.get(f"other_{number}", "").strip()]
        if answer := ", ".join(word for word in words if word):
            given[question["question"]] = answer
    return json.dumps(given)
