"""Render notices as Telegram messages. Pure.

A card answers, on a phone and in five seconds: what would run, how risky it is, where, and how much
time is left. The markup shows which text comes from others, and only a request that is shown in
full can be approved.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC

from approvals.deadlines import NEVER_WORDS
from approvals.presentation.reading import MOST_ROWS, ending_of, rows_of
from approvals.presentation.render import OWN_WORDS, TITLE, Block, one_line, visible
from escalation.channels.base import Notice, Outcome
from escalation.telegram.messages.answer_draft import Draft
from escalation.telegram.messages.chosen_answers import describe_chosen_answers
from escalation.telegram.messages.keyboards import (
    Action,
    cut_keyboard,
    decision_keyboard,
    rejecting_keyboard,
    reopening_keyboard,
)
from escalation.telegram.messages.markup import (
    LONGEST_MESSAGE,
    NOTHING,
    Piece,
    code_block,
    lines,
    link,
    moment,
    quote,
    remark,
    strip_markup,
    strong,
    truncate,
    words,
)
from escalation.telegram.messages.message import Card, InlineButton, Row
from escalation.telegram.messages.outcomes import describe_outcome, mark_and_verb

LONGEST_CARD = 3500  # leaves room for the outcome that is added above it later
CUT_LINES = 8
CUT_WIDTH = 160
SHORT = 200
MOST_IN_A_LIST = 15
UNTIL = "⏳ "
RISK_MARKS = {"low": "🟢", "medium": "🟡", "high": "🔴"}
LANGUAGES = {"command": "bash", "diff": "diff", "json": "json"}
HEADLINES = {
    "Bash": "Run this command?", "Write": "Write this file?", "Edit": "Change this file?",
    "MultiEdit": "Change this file?", "NotebookEdit": "Change this notebook?", "WebFetch": "Fetch this page?",
    "WebSearch": "Search the web?",
}  # fmt: skip


def render_card(notice: Notice, draft: Draft | None = None) -> Card:
    """Render the request with the buttons that fit it, in full if there is room.

    ``draft`` holds answers chosen so far.
    """
    draft = draft or Draft()
    parts = _render_blocks(notice)
    full = _render_request(notice, parts, NOTHING, directory=notice.working_directory)
    is_short = full.size <= LONGEST_CARD and rows_of(full.plain) <= MOST_ROWS
    if is_short and not notice.left_out and not any(block.cut for block in notice.blocks):
        so_far = describe_chosen_answers(notice, draft, room=LONGEST_MESSAGE - full.size - 1)
        full = _render_request(notice, parts, so_far, directory=notice.working_directory)
        return _build_card(full, decision_keyboard(notice, draft))
    directory = truncate(notice.working_directory, SHORT)
    return _build_card(
        _render_request(notice, _render_beginning(notice), NOTHING, directory=directory), cut_keyboard(notice)
    )


def is_cut(notice: Notice) -> bool:
    """Return True if the card cannot show the full request."""
    return any(button.action == Action.SHOW_ALL for row in render_card(notice).keyboard for button in row)


def render_decision(notice: Notice, draft: Draft | None = None) -> Card:
    """Render the decision that follows the full text."""
    size = sum(len(block.text) for block in notice.blocks)
    draft, all_of_it = draft or Draft(), strong("That was all of it") + words(f", {size:,} characters.")
    head, foot = all_of_it, [_render_digest(notice), _render_secrets(notice), _render_deadline(notice)]
    so_far = describe_chosen_answers(notice, draft, room=LONGEST_CARD - lines([head, *foot]).size)
    return _build_card(lines([head, so_far, *foot]), decision_keyboard(notice, draft))


def render_rejecting(notice: Notice, *, who: str, shown: str, seconds: int) -> Card:
    """Render the card while ``who`` is asked for a reason."""
    text = words("✋ ") + quote(who) + words(f" rejects this. A reason may follow within {seconds} s.")
    return _render_above(text, notice, shown, rejecting_keyboard(notice))


def render_settled(notice: Notice, outcome: Outcome, *, shown: str) -> Card:
    """Render the final state, without buttons to decide, of a message whose HTML was ``shown``."""
    below = _without_deadline(shown) or quote(one_line(notice.title, SHORT))
    text = describe_outcome(notice, outcome, fits=lambda text: _fits(text, below))
    return _render_above(text, notice, shown, reopening_keyboard() if outcome.reopenable else ())


def render_outcome(notice: Notice, outcome: Outcome) -> Card:
    """Render the outcome as a new message, for a card that cannot be edited any more."""
    return render_settled(notice, outcome, shown="")


def render_minimal(notice: Notice) -> Card:
    """Render plain text without buttons, for a card that Telegram refuses.

    It names where to decide.
    """
    title = one_line(notice.title, SHORT)
    where = f" at {notice.details_url}" if notice.details_url else ""
    rest = f"Telegram does not take the whole of it. Decide in the console{where}, over REST or in a terminal."
    text = lines([words(f"Approval request “{title}”."), words(rest), _render_deadline(notice)])
    return Card(text=text.html, plain=text.plain, marked=False)


def render_reminder(notice: Notice) -> Card:
    """Render the reminder that is sent in reply to the card before the deadline."""
    left = strong(_time_left(notice)) + words(", and nobody has answered.")
    return _build_card(lines([words("⏰ ") + left, quote(one_line(notice.title, SHORT))]), ())


def render_list(items: Sequence[tuple[Notice, Outcome | None]]) -> Card:
    """Render up to `MOST_IN_A_LIST` requests in one message, each with a line and a "Show" button.

    Closed ones show their outcome.

    It is used when more requests wait than Telegram accepts as single cards. ``SHOW`` carries
    ``{"approval": id}``.
    """
    open_ones = [number for number, (_, outcome) in enumerate(items, 1) if outcome is None]
    verb = "request waits" if len(open_ones) == 1 else "requests wait"
    head = strong(f"{len(open_ones)} {verb} for a decision") if open_ones else strong("All of these are decided")
    rows = [_render_list_line(number, notice, outcome) for number, (notice, outcome) in enumerate(items, 1)]
    buttons = [
        InlineButton(
            label=f"Show {number}", action=Action.SHOW, value={"approval": str(items[number - 1][0].approval_id)}
        )
        for number in open_ones
    ]
    return _build_card(lines([head, *rows]), tuple(tuple(buttons[at : at + 3]) for at in range(0, len(buttons), 3)))


def _build_card(text: Piece, keyboard: tuple[Row, ...]) -> Card:
    return Card(text=text.html, plain=text.plain, keyboard=keyboard)


def _render_request(notice: Notice, body: list[Piece], so_far: Piece, *, directory: str) -> Piece:
    return lines(
        [
            _render_headline(notice),
            _render_warning(notice),
            *body,
            so_far,
            _render_risk(notice),
            _render_place(notice, directory),
            _render_secrets(notice),
            _render_deadline(notice),
        ]
    )


def _render_headline(notice: Notice) -> Piece:
    mark = RISK_MARKS.get(notice.risk, "🟡") + " "
    if notice.kind == "external":
        return words("❓ ") + strong("Request from ") + quote(notice.requested_by or "an unknown program")
    if notice.kind == "plan":
        return words("📋 ") + strong("Approve this plan?")
    if notice.kind == "question":
        count = len(notice.questions)
        return words("❓ ") + strong("The agent asks you" + (f" {count} questions" if count > 1 else ""))
    if notice.tool_name in HEADLINES:
        return words(mark) + strong(HEADLINES[notice.tool_name])
    return words(mark) + strong("Use this tool? ") + quote(truncate(notice.tool_name, SHORT))


def _render_warning(notice: Notice) -> Piece:
    """Render the warning of Orchestra about the call.

    Facts of an external request are claims of the requester and are not shown here.
    """
    if notice.kind == "external":
        return NOTHING
    demo = remark("A demo: scripted, not an AI.") if notice.facts.get("agent") == "demo" else NOTHING
    warned = notice.facts.get("warning")
    return lines([demo, words("⚠️ ") + strong(one_line(str(warned), SHORT)) if warned else NOTHING])


def _render_blocks(notice: Notice) -> list[Piece]:
    title = [quote(notice.title)] if notice.kind == "external" else []
    return title + [
        piece for number, block in enumerate(notice.blocks) for piece in _render_block(notice, block, number)
    ]


def _render_block(notice: Notice, block: Block, number: int) -> Iterator[Piece]:
    """Yield the label of a block, its text, and the remark of the renderer."""
    if notice.kind == "external" and block.text == visible(notice.title):
        return
    if block.label == OWN_WORDS and "\n" not in block.text and len(block.text) <= SHORT:
        yield words("The agent says: ") + quote(block.text)
        return
    if not _is_named_in_headline(notice, block, number):
        yield quote(block.label)
    yield code_block(block.text, LANGUAGES.get(block.kind, "")) if block.text else words("No difference.")
    if block.note and not block.quiet:
        yield remark(block.note)


def _is_named_in_headline(notice: Notice, block: Block, number: int) -> bool:
    """Return True if the headline already names this block."""
    return number == 0 and (block.kind in ("command", "plan") or notice.kind == "external")


def _render_beginning(notice: Notice) -> list[Piece]:
    """Render the first lines of everything that would run, and name and count what is missing."""
    left, lost, unseen = CUT_LINES, 0, []
    shown: list[Piece] = [quote(one_line(notice.title, SHORT))] if notice.kind == "external" else []
    missing = 0
    blocks = [block for block in notice.blocks if block.label != TITLE or notice.kind != "external"]
    for number, block in enumerate(blocks):
        rows = block.text.split("\n")
        kept = [truncate(row, CUT_WIDTH) for row in rows[:left]]
        left -= len(kept)
        lost += len(rows) - len(kept)
        missing += len(block.text) - len("\n".join(kept))
        if kept:
            name = [] if _is_named_in_headline(notice, block, number) else [quote(truncate(block.label, SHORT))]
            shown += [*name, code_block("\n".join(kept), LANGUAGES.get(block.kind, ""))]
        else:
            unseen.append(one_line(block.label, SHORT // 4))
    parts = words("Not at all: ") + quote(", ".join(unseen[:4])) if unseen else NOTHING
    more = (f"{lost:,} more lines, " if lost else "") + f"{missing:,} more characters"
    cut = words("✂️ ") + strong("Cut.") + words(f" Not shown here: {more}. Approve after “Show all”.")
    return [*shown, cut, parts, *_render_ending(blocks), *_render_remarks(blocks), _render_digest(notice)]


def _render_ending(blocks: Sequence[Block]) -> list[Piece]:
    """Render the last lines of the longest block, which the beginning does not show."""
    longest = max(blocks, key=lambda block: len(block.text), default=None)
    if longest is None or (longest.text.count("\n") < CUT_LINES and len(longest.text) <= CUT_WIDTH):
        return []
    return [words("It ends with:"), code_block(truncate(ending_of(longest.text), 2 * SHORT))]


def _render_remarks(blocks: Sequence[Block]) -> list[Piece]:
    """Render remarks on deceptive characters and the like."""
    return [remark(truncate(block.note, 2 * SHORT)) for block in blocks if block.note and not block.quiet][:2]


def _render_digest(notice: Notice) -> Piece:
    return words("Digest of the whole: ") + quote(notice.digest) if notice.digest else NOTHING


def _render_risk(notice: Notice) -> Piece:
    if notice.kind != "tool":
        return NOTHING
    why = words(": ") + words(one_line(notice.risk_reason, SHORT)) if notice.risk_reason else NOTHING
    return strong(f"{notice.risk.capitalize()} risk") + why


def _render_place(notice: Notice, directory: str) -> Piece:
    """Render session, agent, host and directory.

    Facts of an external request are shown in its blocks only.
    """
    if notice.kind == "external":
        return NOTHING
    title, agent, host, helper = (
        one_line(str(notice.facts.get(name) or ""), SHORT) for name in ("session", "agent", "host", "sub_agent")
    )
    who = [quote(text) for text in (title, agent, helper) if text]
    place = [quote(text) for text in (host, directory) if text]
    return lines([_join_dotted("💬 ", who), _join_dotted("🖥 ", place)])


def _render_secrets(notice: Notice) -> Piece:
    """Render how many values are replaced by ``[secret 1]`` and so on, and where to see them."""
    if not notice.secrets:
        return NOTHING
    count = "1 secret is hidden" if notice.secrets == 1 else f"{notice.secrets} secrets are hidden"
    return words("🔒 ") + strong(count) + words("; see the console") + link(notice.details_url) + words(".")


def _join_dotted(mark: str, pieces: list[Piece]) -> Piece:
    return words(mark) + lines(pieces, between=" · ") if pieces else NOTHING


def _render_deadline(notice: Notice) -> Piece:
    """Render the deadline.

    It is always the last line, so that it can be removed when the request closes.
    """
    if notice.never_expires:
        return words(UNTIL + NEVER_WORDS)
    clock = f"{notice.expires_at.astimezone(UTC):%H:%M} UTC"
    within = moment(notice.expires_at, "r", f"within {_about(notice.seconds_left)}")
    return words(UNTIL + "Answer ") + within + words(", by ") + moment(notice.expires_at, "t", clock)


def _time_left(notice: Notice) -> str:
    return NEVER_WORDS if notice.never_expires else f"{_about(notice.seconds_left)} left"


def _about(seconds: float) -> str:
    """Return the time left in seconds or minutes.

    The message may be read later, so more detail would mislead.
    """
    return f"{round(seconds)} s" if seconds < 100 else f"{round(seconds / 60)} min"


def _render_above(text: Piece, notice: Notice, shown: str, keyboard: tuple[Row, ...]) -> Card:
    """Render ``text`` above what was ``shown``, or above the title if that does not fit."""
    below = _without_deadline(shown)
    if not below or not _fits(text, below):
        below = quote(one_line(notice.title, SHORT))
    return _build_card(lines([text, below], between="\n\n"), keyboard)


def _without_deadline(shown: str) -> Piece:
    """Return the message as it was sent, without the line that shows the time left."""
    before, _, last = shown.rpartition("\n")
    body = before if last.startswith(UNTIL) else shown
    return Piece(strip_markup(body), body)


def _fits(text: Piece, below: Piece) -> bool:
    return text.size + below.size + 2 <= LONGEST_MESSAGE


def _render_list_line(number: int, notice: Notice, outcome: Outcome | None) -> Piece:
    title = quote(one_line(notice.title, 70))
    if outcome is None:
        until = words(NEVER_WORDS) if notice.never_expires else moment(notice.expires_at, "r", _time_left(notice))
        return words(f"{number}. {RISK_MARKS.get(notice.risk, '🟡')} ") + title + words(" · ") + until
    mark, verb = mark_and_verb(outcome)
    who = words(" by ") + quote(one_line(outcome.decided_by, 30)) if outcome.decided_by else NOTHING
    return words(f"{number}. {mark} ") + title + words(f" · {verb}") + who
