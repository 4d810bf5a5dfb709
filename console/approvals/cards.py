"""A question as people see it in the console: everything the card of one needs, read and never written."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

from django.conf import settings
from django.urls import reverse

from approvals.models import Approval, DecisionSource
from approvals.presentation import render
from approvals.presentation.reading import Extent, extent_of
from approvals.presentation.redacted import Shown, hidden_text, shown_of
from approvals.presentation.render import answers_given
from approvals.presentation.safe_text import one_line, visible
from approvals.presentation.session_scope import scope_pattern, scope_sentence
from approvals.queries import is_own, may_answer
from approvals.reopening import may_be_reopened
from orchestra.auth.permissions import Right, may
from sessions_app.queries import readable_sessions

MOST_LINES = 40  # changed lines, or lines of anything else, that a card shows; more are read on the question's page
LONGEST_TEXT = 4_000  # characters of a block on a card
FIRST_LINES = 12  # of what is read elsewhere
FIRST_CHARACTERS = 1_200
VERBS = {
    "Bash": "Run a command", "Write": "Write a file", "Edit": "Edit a file", "MultiEdit": "Edit a file",
    "NotebookEdit": "Edit a notebook", "Read": "Read a file", "Glob": "List files", "Grep": "Search files",
    "WebFetch": "Fetch a page", "WebSearch": "Search the web", "Task": "Start a sub-agent",
    "Agent": "Start a sub-agent",
}  # fmt: skip
SAYS_NOTHING = frozenset({"runs a command", "changes a file", "only looks", "only reads", "asks you something"})
DOORS = {
    DecisionSource.TELEGRAM: "on Telegram",
    DecisionSource.ADMIN: "in the admin",
    DecisionSource.API: "by API",
    DecisionSource.DASHBOARD: "here",
    DecisionSource.WEBSOCKET: "here",
    DecisionSource.CLI: "in the terminal",
    DecisionSource.POLICY: "by rule",
    DecisionSource.SYSTEM: "by the system",
}


@dataclass(frozen=True, slots=True)
class Place:
    """The session that asks."""

    title: str
    address: str
    parked: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a question ended: a tone (ok, bad or empty), a shape, a strong beginning and the rest of the sentence."""

    tone: str
    icon: str
    strong: str
    rest: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """One question. ``notice`` is what somebody who just answered is told; ``typed`` what they had written.

    ``approval`` is a copy without secrets, unless they were revealed; ``shown`` knows the row.
    """

    approval: Approval
    shown: Shown
    blocks: list[render.Block]
    heading: str
    line: str
    place: Place | None
    answerable: bool
    stoppable: bool
    """Whether the reader may also stop the turn that asks."""
    own: bool
    is_long: bool
    notice: str = ""
    typed: str = ""
    is_open: bool = True
    """Drawn whole, or as one line."""
    questions: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    extent: Extent | None = None
    """How much there is to read, where it is drawn whole."""
    decides: bool = False
    """Whether the reader may decide at all."""

    @property
    def reopenable(self) -> bool:
        """Whether the reader may ask this closed request again."""
        return self.decides and not self.own and may_be_reopened(self.approval)

    @property
    def may_never_expire(self) -> bool:
        """Whether the deadline may be taken away."""
        return bool(settings.APPROVALS.allow_never_expires) and not self.approval.never_expires

    @property
    def verdict(self) -> Verdict | None:
        """How it ended, or None while it is open."""
        return verdict_of(self.approval)

    @property
    def reason(self) -> str:
        """Why this may be dangerous, as a sentence; empty where it would say no more than the heading."""
        why = visible(self.approval.risk_reason)
        return "" if not why or why in SAYS_NOTHING else f"It {'is ' if why.startswith(('a ', 'too ')) else ''}{why}."

    @property
    def address(self) -> str:
        """The question's own page."""
        return address_of(self.approval.pk)

    @property
    def answers(self) -> list[tuple[str, str]]:
        """Questions and what people answered."""
        return answers_given(self.approval)

    @property
    def demo(self) -> bool:
        """Whether the scripted demo agent asks."""
        return bool(self.approval.facts.get("agent") == "demo")

    @property
    def warning(self) -> str:
        """What the asker wants people to look at twice."""
        return visible(str(self.approval.facts.get("warning") or ""))

    @property
    def host(self) -> str:
        """Where it would run."""
        return visible(str(self.approval.facts.get("host") or ""))

    @property
    def digest(self) -> str:
        """The two ends of the digest, enough for two people to compare; of an edited call none, there are two."""
        if self.approval.updated_input:
            return ""
        whole = self.approval.input_digest
        return f"{whole[:4]}·{whole[-4:]}" if whole else ""

    @property
    def key(self) -> str:
        """Its id, as part of an element's."""
        return str(self.approval.pk)

    @property
    def secrets(self) -> int:
        """How many secrets it holds; hidden unless ``revealed``."""
        return self.shown.secrets

    @property
    def revealed(self) -> bool:
        return self.shown.revealed

    @property
    def may_edit(self) -> bool:
        """Whether the input can be edited here: one with hidden secrets cannot, lest it runs without them."""
        return self.revealed or not self.secrets

    @property
    def input_to_edit(self) -> str:
        """The input as text to change."""
        return render.editable(self.shown.raw.tool_input or "{}") if self.may_edit else ""

    @property
    def rule(self) -> str:
        """What "for this session" would let pass from now on."""
        raw = self.shown.raw
        return self.shown.hide(visible(f"{raw.tool_name}({scope_pattern(raw)})"))

    @property
    def rule_scope(self) -> str:
        """The same as a sentence, with what may change."""
        return scope_sentence(self.shown.raw)

    @property
    def whole_s(self) -> int:
        """How long people were given, in seconds."""
        return int((self.approval.expires_at - self.approval.created_at).total_seconds())


def places_of(approvals: Iterable[Approval]) -> dict[UUID, Place]:
    """The sessions that ask, by id: what they are called and where their pages are. One query."""
    ids = {approval.session for approval in approvals if approval.session}
    rows = readable_sessions().filter(pk__in=ids).only("pk", "title", "status") if ids else ()
    return {
        row.pk: Place(one_line(row.title, 120), reverse("session", args=[row.pk]), getattr(row, "parked", False))
        for row in rows
    }


def cards_for(approvals: list[Approval], user: Any, *, opened: Iterable[UUID] = ()) -> list[Card]:
    """Cards in the same order; those in ``opened`` are drawn whole, the others as one line."""
    places, whole = places_of(approvals), set(opened)
    return [card_for(one, user, place=_at(places, one), is_open=one.pk in whole) for one in approvals]


def _at(places: Mapping[UUID, Place], approval: Approval) -> Place | None:
    return places.get(approval.session) if approval.session else None


def place_of(approval: Approval) -> Place | None:
    """The session that asks, if a session asks."""
    return _at(places_of([approval]), approval)


def card_for(
    approval: Approval,
    user: Any,
    *,
    place: Place | None = None,
    is_open: bool = True,
    notice: str = "",
    typed: str = "",
    revealed: bool = False,
    shown: Shown | None = None,
) -> Card:
    """The card of one question for ``user``; a closed question has no buttons for anybody.

    Secrets are hidden unless ``revealed``, which the caller has noted in the audit.
    """
    shown = shown or shown_of(approval, revealed=revealed, whole=is_open)
    approval = shown.approval
    whole = shown.blocks(longest=render.WHOLE) if is_open else []
    extent = extent_of(shown.raw, whole) if is_open else None
    blocks = [_nearby(block, approval) for block in _cut(whole, approval, extent)]
    own, answerable = is_own(user, approval), may_answer(user, approval)
    return Card(
        approval=approval,
        shown=shown,
        blocks=[block for block in blocks if block.kind != "question" or not answerable],
        heading=heading_of(approval),
        line=short_of(approval),
        place=place,
        answerable=answerable,
        stoppable=answerable and approval.session is not None and may(user, Right.OPERATE),
        own=own,
        is_long=any(_is_long(block) for block in blocks) or (extent is not None and extent.is_long),
        notice=notice,
        typed=typed,
        is_open=is_open,
        questions=list(enumerate(render.questions_of(approval))),
        extent=extent,
        decides=may(user, Right.DECIDE),
    )


def _cut(blocks: list[render.Block], approval: Approval, extent: Extent | None) -> list[render.Block]:
    """As much as a card shows: the beginning alone of what is read on the request's own page."""
    blocks = render.without_title(approval, blocks)
    if extent is None or not extent.is_long:
        return render.bounded(blocks, approval, longest=LONGEST_TEXT)
    return render.bounded(blocks, approval, longest=FIRST_CHARACTERS, most_lines=FIRST_LINES)


def address_of(approval_id: UUID) -> str:
    """Where a question has a page of its own."""
    return reverse("question", args=[approval_id])


def heading_of(approval: Approval) -> str:
    """A verb and the project: "Run a command in shop-api"; a question is its own heading."""
    if approval.kind == Approval.Kind.EXTERNAL:
        return one_line(hidden_text(approval.title), 200)
    if approval.kind == Approval.Kind.PLAN:
        return "Approve this plan?"
    if approval.kind == Approval.Kind.QUESTION:
        questions = render.questions_of(approval)
        return (
            one_line(hidden_text(questions[0]["question"]), 200)
            if len(questions) == 1
            else f"{len(questions)} questions"
        )
    folder = "" if _is_own_folder(approval) else folder_of(approval)
    return f"{verb_of(approval)} in {folder}" if folder else verb_of(approval)


def verb_of(approval: Approval) -> str:
    """What the call does, in a word or two."""
    name = approval.tool_name
    if name.startswith("mcp__") and name.count("__") >= 2:
        _, server, tool = name.split("__", 2)
        return one_line(f"Use {tool} of {server}", 80)
    return VERBS.get(name) or one_line(f"Use {name}" if name else approval.title, 80)


def folder_of(approval: Approval) -> str:
    """The last part of the working directory."""
    return one_line(PurePosixPath(approval.working_directory).name, 60) if approval.working_directory else ""


def _is_own_folder(approval: Approval) -> bool:
    """Whether the folder was made for this session alone, so that its name says nothing."""
    return bool(approval.session) and approval.working_directory.endswith(f"/session-{str(approval.session)[:8]}")


def verdict_of(approval: Approval) -> Verdict | None:
    """How ``approval`` ended, in words, or None while it is open."""
    if approval.is_open:
        return None
    who = visible(approval.decided_by)
    door = DOORS.get(DecisionSource(approval.decided_via), "") if approval.decided_via else ""
    if who and approval.decided_via == DecisionSource.SYSTEM:  # what somebody did to the session, such as cancelling it
        door = ""
    by = ", ".join(part for part in (f"by {who}" if who else "", door) if part)
    if approval.status == Approval.Status.APPROVED:
        edited = " with edits" if approval.updated_input else ""
        scope = " for this session" if approval.scope == Approval.Scope.SESSION else ""
        icon = "edited" if approval.updated_input else "done"
        return Verdict("ok", icon, f"Approved{edited}{scope} {by}".strip())
    if approval.status == Approval.Status.REJECTED:
        return Verdict("bad", "rejected", f"Rejected {by}".strip())
    if approval.status == Approval.Status.EXPIRED:
        return Verdict("", "expired", "Expired", "Nobody answered in time. It did not run.")
    return Verdict("", "cancelled", f"Cancelled {by}".strip(), "It did not run.")


def _line(approval: Approval) -> str:
    """What a closed card shows of the call."""
    if approval.kind == Approval.Kind.QUESTION:
        choices = [option["label"] for one in render.questions_of(approval) for option in one["options"]]
        return " · ".join(choices) or approval.title
    title = approval.title
    about = title.removeprefix(f"{approval.tool_name}: ") if approval.tool_name else approval.body or title
    return about.replace(_folder(approval), "")


def _nearby(block: render.Block, approval: Approval) -> render.Block:
    """Paths below the working directory, which the card names anyway, without it."""
    return replace(block, label=block.label.replace(_folder(approval), ""))


def _folder(approval: Approval) -> str:
    return visible(approval.working_directory).rstrip("/") + "/" if approval.working_directory else "\0"


def short_of(approval: Approval) -> str:
    """What the call is about, in one short line."""
    return one_line(hidden_text(_line(approval)[:2_000]), 160)


def _is_long(block: render.Block) -> bool:
    changed = sum(line.kind in ("add", "del") for line in block.lines)
    lines = changed if block.kind == "diff" else block.text.count("\n") + 1
    return bool(block.cut) or (lines > MOST_LINES and block.kind not in ("plan", "question", "command"))
