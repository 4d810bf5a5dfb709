"""The form with which a person decides a request; the console and the admin share it."""

import json
from functools import cached_property, partial
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import HttpRequest, QueryDict

from approvals import commands
from approvals.deadlines import EXTENSION_MINUTES
from approvals.models import Approval
from approvals.presentation import render
from approvals.presentation.reading import why_unread
from approvals.presentation.redacted import Shown, shown_of
from approvals.presentation.session_scope import scope_label, scope_pattern, scope_sentence
from orchestra.errors import OrchestraError

EXTENSIONS = {"extend": EXTENSION_MINUTES, "never": 0}
Sent = partial(forms.Field, required=False)  # a plain field keeps the text as it was sent; None if it was not


class DecisionForm(forms.Form):
    """The decision on one request: what a page offers and, with ``data``, what a person sent.

    ``cleaned_data`` holds the arguments of the command that records it. ``refusal`` is the error of
    that command. A question's answer is sent as ``answer_N``, once for each choice, and ``other_N``.
    """

    decision, reason, note, updated_input = Sent(), Sent(), Sent(), Sent()
    seen_digest, read_digest = Sent(), Sent()
    extension = EXTENSION_MINUTES
    data: Any  # a QueryDict once a form was sent, else an empty MultiValueDict
    refusal: OrchestraError | None = None

    def __init__(self, approval: Approval, data: QueryDict | None = None, *, shown: Shown | None = None) -> None:
        super().__init__(data)
        self.approval = approval
        if shown:
            self.shown = shown

    @classmethod
    def in_batch(cls, approval: Approval, sent: QueryDict, decision: str) -> "DecisionForm":
        """Return the form of one request of a batch, whose requests share the note and the reason."""
        data = sent.copy()
        data["decision"] = "reject" if decision == Approval.Status.REJECTED else "approve"
        data["seen_digest"] = sent.get(f"digest_{approval.pk}", "")
        return cls(approval, data)

    # --- what a page offers

    @cached_property
    def shown(self) -> Shown:
        return shown_of(self.approval)

    @property
    def questions(self) -> list[tuple[int, dict[str, Any]]]:
        """The questions with their numbers, secrets hidden unless they are revealed."""
        return list(enumerate(render.questions_of(self.shown.approval)))

    @property
    def may_edit(self) -> bool:
        """Whether the input can be edited; one with hidden secrets cannot, because it would run
        without them.
        """
        return self.shown.revealed or not self.shown.secrets or "updated_input" in self.data

    @property
    def input_to_edit(self) -> str:
        """The input as text for the editor, or the text that was sent."""
        if sent := self.data.get("updated_input"):
            return str(sent)
        hidden = self.shown.secrets and not self.shown.revealed
        return "" if hidden else render.editable(self.approval.tool_input or "{}")

    @property
    def rows_to_edit(self) -> int:
        return min(24, max(6, self.input_to_edit.count("\n") + 2))

    @property
    def may_never_expire(self) -> bool:
        """Whether the deadline can be removed."""
        return bool(settings.APPROVALS.allow_never_expires) and not self.approval.never_expires

    @property
    def rule(self) -> str:
        """The rule that an approval "for this session" would create."""
        return self.shown.hide(render.visible(f"{self.approval.tool_name}({scope_pattern(self.approval)})"))

    @property
    def rule_scope(self) -> str:
        """That rule as a sentence, which names the parts of a call that may differ."""
        return scope_sentence(self.approval)

    @property
    def rule_label(self) -> str:
        return scope_label(self.approval)

    # --- what a person sent

    def clean(self) -> dict[str, Any]:
        sent, decision = self.cleaned_data, self.cleaned_data["decision"]
        if decision in EXTENSIONS:
            return {"minutes": EXTENSIONS[decision]}
        if not sent["seen_digest"] and self.approval.input_digest:
            raise ValidationError("The page did not say what you were looking at; load it again.")
        seen = {"seen_digest": sent["seen_digest"] or ""}
        if decision == "reject":
            return {"decision": Approval.Status.REJECTED, "reason": sent["reason"], **seen}
        if why := why_unread(self.approval, sent["read_digest"] or ""):
            raise ValidationError(why)
        return {"decision": Approval.Status.APPROVED, "note": sent["note"], **seen, **self._approved_as(decision)}

    def clean_reason(self) -> str:
        """Return the reason of a rejection; PostgreSQL stores no NUL, so it is replaced."""
        return (self.cleaned_data["reason"] or "").replace("\0", "\ufffd")

    def clean_note(self) -> str:
        """Return the note to the agent, without a NUL as well."""
        return (self.cleaned_data["note"] or "").replace("\r\n", "\n").replace("\0", "\ufffd").strip()

    def _approved_as(self, decision: str) -> dict[str, str]:
        """Return what distinguishes this approval from a plain one; JSON text, as the command takes
        it.
        """
        match decision:
            case "approve" if render.questions_of(self.approval):
                if answers := self._answers():
                    return {"answers": json.dumps(answers)}
                raise ValidationError("Answer at least one question, or reject.")
            case "approve":
                return {}
            case "approve_session":
                return {"scope": Approval.Scope.SESSION}
            case "edit" if "updated_input" not in self.data:
                raise ValidationError("The page did not say what to run instead; reveal its secrets first, then edit.")
            case "edit":
                return {"updated_input": render.exact_json(self.cleaned_data["updated_input"]) or "{}"}
        raise ValidationError("Choose what to answer.")

    def _answers(self) -> dict[str, str]:
        """Return each question's text with its answer; the CLI expects several choices joined by
        commas.

        A choice is sent as the page showed it, with secrets hidden; it is mapped back to the
        original option.
        """
        given = {}
        hidden = render.questions_of(self.shown.approval)
        for number, question in enumerate(render.questions_of(self.approval)):
            labels = {
                shown["label"]: option["label"]
                for shown, option in zip(hidden[number]["options"], question["options"], strict=True)
            }
            chosen = [labels.get(label, label) for label in self.data.getlist(f"answer_{number}")]
            words = [*chosen, self.data.get(f"other_{number}", "").strip()]
            if answer := ", ".join(word for word in words if word):
                given[question["question"]] = answer
        return given

    def record(self, *, by: str, via: str, address: str) -> str:
        """Record the decision; return why it was refused, or an empty string."""
        if not self.is_valid():
            return str(self.non_field_errors()[0])
        try:
            if "minutes" in self.cleaned_data:
                commands.extend_approval(approval_id=self.approval.pk, by=by, via=via, **self.cleaned_data)
            else:
                commands.decide_approval(
                    approval_id=self.approval.pk, by=by, via=via, address=address, **self.cleaned_data
                )
        except OrchestraError as error:
            self.refusal = error
            return error.detail
        return ""


def actor_of(request: HttpRequest, via: str) -> dict[str, str]:
    """Return who acts, on which surface and from which address, as arguments of the commands."""
    return {"by": request.user.get_username(), "via": via, "address": request.META.get("REMOTE_ADDR", "")}
