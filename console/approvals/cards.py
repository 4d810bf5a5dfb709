"""Cards: approval requests as the console shows them. This module only reads."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

from django.urls import reverse

from approvals.forms import DecisionForm
from approvals.models import Approval, DecisionSource
from approvals.presentation import render
from approvals.presentation.reading import Extent, extent_of
from approvals.presentation.redacted import Shown, hidden_text, shown_of
from approvals.presentation.render import answers_given
from approvals.presentation.safe_text import one_line, visible
from approvals.presentation.surfaces import names_of
from approvals.queries import can_decide, is_own
from approvals.reopening import may_be_reopened
from orchestra.auth.permissions import Right, may
from sessions_app.queries import readable_sessions

MOST_LINES = 40  # lines (of a diff: changed ones) that a card shows; the request's page shows all
LONGEST_TEXT = 4_000  # characters of a block on a card
FIRST_LINES = 12  # of an input that is read whole on the request's page
FIRST_CHARACTERS = 1_200
VERBS = {
    "Bash": "Run a command", "Write": "Write a file", "Edit": "Edit a file", "MultiEdit": "Edit a file",
    "NotebookEdit": "Edit a notebook", "Read": "Read a file", "Glob": "List files", "Grep": "Search files",
    "WebFetch": "Fetch a page", "WebSearch": "Search the web", "Task": "Start a sub-agent",
    "Agent": "Start a sub-agent",
}  # fmt: skip
OBVIOUS_REASONS = frozenset({"runs a command", "changes a file", "only looks", "only reads", "asks you something"})


@dataclass(frozen=True, slots=True)
class SessionLink:
    """The session that made a request."""

    title: str
    address: str
    parked: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request was closed: a tone (ok, bad or empty), an icon, an emphasised beginning and the
    rest of a sentence.
    """

    tone: str
    icon: str
    strong: str
    rest: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """One request for one reader.

    After a refused decision, ``notice`` says why and ``typed`` holds the texts that were entered.
    ``approval`` is a copy in which secrets are hidden unless revealed; ``shown`` holds the row
    itself.
    """

    approval: Approval
    shown: Shown
    blocks: list[render.Block]
    heading: str
    line: str
    session_link: SessionLink | None
    can_decide: bool
    may_stop_turn: bool
    """The reader may also stop the turn that made the request."""
    is_own: bool
    is_long: bool
    notice: str = ""
    typed: str = ""
    is_open: bool = True
    """The card is drawn whole, and not as one line."""
    extent: Extent | None = None
    """How much there is to read, if the card is drawn whole."""
    may_decide: bool = False
    """The reader has the right to decide requests."""

    @property
    def may_reopen(self) -> bool:
        """Whether the reader may reopen this closed request."""
        return self.may_decide and not self.is_own and may_be_reopened(self.approval)

    @property
    def form(self) -> DecisionForm:
        """What the reader can decide."""
        return DecisionForm(self.shown.raw, shown=self.shown)

    @property
    def outcome(self) -> Outcome | None:
        """How the request was closed, or None while it is open."""
        return outcome_of(self.approval)

    @property
    def reason(self) -> str:
        """Why the call may be dangerous, as a sentence; empty if the heading already says as much."""
        why = visible(self.approval.risk_reason)
        return (
            "" if not why or why in OBVIOUS_REASONS else f"It {'is ' if why.startswith(('a ', 'too ')) else ''}{why}."
        )

    @property
    def address(self) -> str:
        """The URL of the request's page."""
        return address_of(self.approval.pk)

    @property
    def answers(self) -> list[tuple[str, str]]:
        """Questions of the agent with the answers of people."""
        return answers_given(self.approval)

    @property
    def demo(self) -> bool:
        """Whether the scripted demo agent made the request."""
        return bool(self.approval.facts.get("agent") == "demo")

    @property
    def warning(self) -> str:
        """A warning of the requester."""
        return visible(str(self.approval.facts.get("warning") or ""))

    @property
    def host(self) -> str:
        """The host that the call would run on."""
        return visible(str(self.approval.facts.get("host") or ""))

    @property
    def digest(self) -> str:
        """Both ends of the input's digest, for two people to compare; empty for an edited call,
        which has two inputs.
        """
        if self.approval.updated_input:
            return ""
        whole = self.approval.input_digest
        return f"{whole[:4]}·{whole[-4:]}" if whole else ""

    @property
    def key(self) -> str:
        """The approval's id as a part of element ids."""
        return str(self.approval.pk)

    @property
    def secrets(self) -> int:
        """The number of secrets in the request; they are hidden unless ``revealed``."""
        return self.shown.secrets

    @property
    def revealed(self) -> bool:
        return self.shown.revealed

    @property
    def whole_s(self) -> int:
        """Seconds from the creation of the request to its deadline."""
        return int((self.approval.expires_at - self.approval.created_at).total_seconds())


def session_links_of(approvals: Iterable[Approval]) -> dict[UUID, SessionLink]:
    """Links to the sessions of these approvals, by session id; one query."""
    ids = {approval.session for approval in approvals if approval.session}
    rows = readable_sessions().filter(pk__in=ids).only("pk", "title", "status") if ids else ()
    return {
        row.pk: SessionLink(one_line(row.title, 120), reverse("session", args=[row.pk]), getattr(row, "parked", False))
        for row in rows
    }


def cards_for(approvals: list[Approval], user: Any, *, opened: Iterable[UUID] = ()) -> list[Card]:
    """Cards in the order of ``approvals``; those in ``opened`` are drawn whole, the others as one
    line.
    """
    links, whole = session_links_of(approvals), set(opened)
    return [card_for(one, user, session_link=_link_from(links, one), is_open=one.pk in whole) for one in approvals]


def _link_from(links: Mapping[UUID, SessionLink], approval: Approval) -> SessionLink | None:
    return links.get(approval.session) if approval.session else None


def session_link_of(approval: Approval) -> SessionLink | None:
    """The link to the approval's session; None if a program made the request."""
    return _link_from(session_links_of([approval]), approval)


def card_for(
    approval: Approval,
    user: Any,
    *,
    session_link: SessionLink | None = None,
    is_open: bool = True,
    notice: str = "",
    typed: str = "",
    revealed: bool = False,
    shown: Shown | None = None,
) -> Card:
    """The card of one request for ``user``; a closed request has no buttons.

    Secrets are hidden unless ``revealed``; the caller has recorded the reveal in the audit.
    """
    shown = shown or shown_of(approval, revealed=revealed, whole=is_open)
    approval = shown.approval
    whole = shown.blocks(longest=render.WHOLE) if is_open else []
    extent = extent_of(shown.raw, whole) if is_open else None
    blocks = [_with_relative_paths(block, approval) for block in _cut(whole, approval, extent)]
    own, decidable = is_own(user, approval), can_decide(user, approval)
    return Card(
        approval=approval,
        shown=shown,
        # a reader who can decide gets the questions as a form, from ``questions``
        blocks=[block for block in blocks if block.kind != "question" or not decidable],
        heading=heading_of(approval),
        line=summary_of(approval),
        session_link=session_link,
        can_decide=decidable,
        may_stop_turn=decidable and approval.session is not None and may(user, Right.OPERATE),
        is_own=own,
        is_long=any(_is_long(block) for block in blocks) or (extent is not None and extent.is_long),
        notice=notice,
        typed=typed,
        is_open=is_open,
        extent=extent,
        may_decide=may(user, Right.DECIDE),
    )


def _cut(blocks: list[render.Block], approval: Approval, extent: Extent | None) -> list[render.Block]:
    """Limit blocks to the size of a card; of a long input it keeps the beginning only."""
    blocks = render.without_title(approval, blocks)
    if extent is None or not extent.is_long:
        return render.bounded(blocks, approval, longest=LONGEST_TEXT)
    return render.bounded(blocks, approval, longest=FIRST_CHARACTERS, most_lines=FIRST_LINES)


def address_of(approval_id: UUID) -> str:
    """The URL of the request's page."""
    return reverse("question", args=[approval_id])


def heading_of(approval: Approval) -> str:
    """A verb and the folder, as in "Run a command in shop-api"; a question is its own heading."""
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
    """A verb phrase for the call, as in "Run a command"."""
    name = approval.tool_name
    if name.startswith("mcp__") and name.count("__") >= 2:
        _, server, tool = name.split("__", 2)
        return one_line(f"Use {tool} of {server}", 80)
    return VERBS.get(name) or one_line(f"Use {name}" if name else approval.title, 80)


def folder_of(approval: Approval) -> str:
    """The last part of the working directory."""
    return one_line(PurePosixPath(approval.working_directory).name, 60) if approval.working_directory else ""


def _is_own_folder(approval: Approval) -> bool:
    """Whether the folder was made for this session and so has a generated name."""
    return bool(approval.session) and approval.working_directory.endswith(f"/session-{str(approval.session)[:8]}")


def outcome_of(approval: Approval) -> Outcome | None:
    """How ``approval`` was closed, or None while it is open."""
    if approval.is_open:
        return None
    who = visible(approval.decided_by)
    surface = names_of(approval.decided_via).on_card
    if who and approval.decided_via == DecisionSource.SYSTEM:  # a person acted on the session, e.g. cancelled it
        surface = ""
    by = ", ".join(part for part in (f"by {who}" if who else "", surface) if part)
    if approval.status == Approval.Status.APPROVED:
        edited = " with edits" if approval.updated_input else ""
        scope = " for this session" if approval.scope == Approval.Scope.SESSION else ""
        icon = "edited" if approval.updated_input else "done"
        return Outcome("ok", icon, f"Approved{edited}{scope} {by}".strip())
    if approval.status == Approval.Status.REJECTED:
        return Outcome("bad", "rejected", f"Rejected {by}".strip())
    if approval.status == Approval.Status.EXPIRED:
        return Outcome("", "expired", "Expired", "Nobody answered in time. It did not run.")
    return Outcome("", "cancelled", f"Cancelled {by}".strip(), "It did not run.")


def _line(approval: Approval) -> str:
    """The call in one line, for a folded card."""
    if approval.kind == Approval.Kind.QUESTION:
        choices = [option["label"] for one in render.questions_of(approval) for option in one["options"]]
        return " · ".join(choices) or approval.title
    title = approval.title
    about = title.removeprefix(f"{approval.tool_name}: ") if approval.tool_name else approval.body or title
    return about.replace(_folder(approval), "")


def _with_relative_paths(block: render.Block, approval: Approval) -> render.Block:
    """The block with paths relative to the working directory, which the card shows anyway."""
    return replace(block, label=block.label.replace(_folder(approval), ""))


def _folder(approval: Approval) -> str:
    """The working directory as a prefix of the paths in shown texts; "\\0", which no shown text
    contains, if there is none.
    """
    return visible(approval.working_directory).rstrip("/") + "/" if approval.working_directory else "\0"


def summary_of(approval: Approval) -> str:
    """The call in one short line, with secrets hidden."""
    return one_line(hidden_text(_line(approval)[:2_000]), 160)


def _is_long(block: render.Block) -> bool:
    changed = sum(line.kind in ("add", "del") for line in block.lines)
    lines = changed if block.kind == "diff" else block.text.count("\n") + 1
    return bool(block.cut) or (lines > MOST_LINES and block.kind not in ("plan", "question", "command"))
