"""From a notice to what stands in the chat. Pure.

Built so that a person on a phone understands it in five seconds: what would run, how risky, where, how long there is.
Who wrote which words can be seen (`markup`), and only what is shown whole can be approved.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC

from approvals.deadlines import NEVER_WORDS
from approvals.presentation.reading import MOST_ROWS, ending_of, rows_of
from approvals.presentation.render import OWN_WORDS, TITLE, Block, one_line, visible
from escalation.channels.base import Notice, Outcome
from escalation.telegram.inbound.answer_draft import Draft
from escalation.telegram.messages.chosen import answers_so_far
from escalation.telegram.messages.keyboards import A, cut_keys, decision_keys, rejecting_keys, reopening_keys
from escalation.telegram.messages.markup import (
    LONGEST_MESSAGE,
    NOTHING,
    Piece,
    box,
    cut_to,
    lines,
    link,
    moment,
    plain_of,
    remark,
    said,
    strong,
    words,
)
from escalation.telegram.messages.message import Card, Key, Row
from escalation.telegram.messages.outcomes import ended, how_it_ended

LONGEST_CARD = 3500  # leaves room for the outcome that is put above it once it is closed
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


def card(notice: Notice, draft: Draft | None = None) -> Card:
    """The request, whole if it fits, with the buttons that fit it; ``draft`` holds answers chosen so far."""
    draft = draft or Draft()
    parts = _whole(notice)
    whole = _request(notice, parts, NOTHING, directory=notice.working_directory)
    is_short = whole.size <= LONGEST_CARD and rows_of(whole.plain) <= MOST_ROWS
    if is_short and not notice.left_out and not any(block.cut for block in notice.blocks):
        so_far = answers_so_far(notice, draft, room=LONGEST_MESSAGE - whole.size - 1)
        whole = _request(notice, parts, so_far, directory=notice.working_directory)
        return _card(whole, decision_keys(notice, draft))
    directory = cut_to(notice.working_directory, SHORT)
    return _card(_request(notice, _beginning(notice), NOTHING, directory=directory), cut_keys(notice))


def is_cut(notice: Notice) -> bool:
    """Whether its card cannot show all of it."""
    return any(key.action == A.SHOW_ALL for row in card(notice).keys for key in row)


def after_all(notice: Notice, draft: Draft | None = None) -> Card:
    """Below what "Show all" sent: the decision."""
    size = sum(len(block.text) for block in notice.blocks)
    draft, all_of_it = draft or Draft(), strong("That was all of it") + words(f", {size:,} characters.")
    head, foot = all_of_it, [_digest(notice), _secrets(notice), _deadline(notice)]
    so_far = answers_so_far(notice, draft, room=LONGEST_CARD - lines([head, *foot]).size)
    return _card(lines([head, so_far, *foot]), decision_keys(notice, draft))


def rejecting(notice: Notice, *, who: str, shown: str, seconds: int) -> Card:
    """The card while ``who`` is asked for a reason."""
    told = words("✋ ") + said(who) + words(f" rejects this. A reason may follow within {seconds} s.")
    return _above(told, notice, shown, rejecting_keys(notice))


def settled(notice: Notice, outcome: Outcome, *, shown: str) -> Card:
    """The message whose HTML was ``shown``, as it stands for ever once the approval is closed: no buttons."""
    below = _still_true(shown) or said(one_line(notice.title, SHORT))
    told = how_it_ended(notice, outcome, fits=lambda told: _fits(told, below))
    return _above(told, notice, shown, reopening_keys() if outcome.reopenable else ())


def outcome_only(notice: Notice, outcome: Outcome) -> Card:
    """A new message that tells the outcome, where the old one cannot be edited any more."""
    return settled(notice, outcome, shown="")


def least(notice: Notice) -> Card:
    """What is sent in place of a card that Telegram refuses: plain words, no buttons, and where to decide."""
    title = one_line(notice.title, SHORT)
    where = f" at {notice.details_url}" if notice.details_url else ""
    rest = f"Telegram does not take the whole of it. Decide in the console{where}, over REST or in a terminal."
    text = lines([words(f"Approval request “{title}”."), words(rest), _deadline(notice)])
    return Card(text=text.html, plain=text.plain, marked=False)


def reminder(notice: Notice) -> Card:
    """Sent in reply to the card shortly before the deadline."""
    left = strong(_left(notice)) + words(", and nobody has answered.")
    return _card(lines([words("⏰ ") + left, said(one_line(notice.title, SHORT))]), ())


def several(items: Sequence[tuple[Notice, Outcome | None]]) -> Card:
    """Up to `MOST_IN_A_LIST` questions in one message, a line and a "show" key each; closed ones tell their outcome.

    Sent when more wait than Telegram takes as single cards; ``SHOW`` carries ``{"approval": id}``.
    """
    open_ones = [number for number, (_, outcome) in enumerate(items, 1) if outcome is None]
    verb = "request waits" if len(open_ones) == 1 else "requests wait"
    head = strong(f"{len(open_ones)} {verb} for a decision") if open_ones else strong("All of these are decided")
    rows = [_listed(number, notice, outcome) for number, (notice, outcome) in enumerate(items, 1)]
    keys = [
        Key(label=f"Show {number}", action=A.SHOW, value={"approval": str(items[number - 1][0].approval_id)})
        for number in open_ones
    ]
    return _card(lines([head, *rows]), tuple(tuple(keys[at : at + 3]) for at in range(0, len(keys), 3)))


def _card(text: Piece, keys: tuple[Row, ...]) -> Card:
    return Card(text=text.html, plain=text.plain, keys=keys)


def _request(notice: Notice, asked: list[Piece], so_far: Piece, *, directory: str) -> Piece:
    return lines(
        [
            _headline(notice),
            _warning(notice),
            *asked,
            so_far,
            _risk(notice),
            _where(notice, directory),
            _secrets(notice),
            _deadline(notice),
        ]
    )


def _headline(notice: Notice) -> Piece:
    mark = RISK_MARKS.get(notice.risk, "🟡") + " "
    if notice.kind == "external":
        return words("❓ ") + strong("Request from ") + said(notice.requested_by or "an unknown program")
    if notice.kind == "plan":
        return words("📋 ") + strong("Approve this plan?")
    if notice.kind == "question":
        count = len(notice.questions)
        return words("❓ ") + strong("The agent asks you" + (f" {count} questions" if count > 1 else ""))
    if notice.tool_name in HEADLINES:
        return words(mark) + strong(HEADLINES[notice.tool_name])
    return words(mark) + strong("Use this tool? ") + said(cut_to(notice.tool_name, SHORT))


def _warning(notice: Notice) -> Piece:
    """What Orchestra has to say about the call; an external asker's facts are its own claims and no warning."""
    if notice.kind == "external":
        return NOTHING
    demo = remark("A demo: scripted, not an AI.") if notice.facts.get("agent") == "demo" else NOTHING
    warned = notice.facts.get("warning")
    return lines([demo, words("⚠️ ") + strong(one_line(str(warned), SHORT)) if warned else NOTHING])


def _whole(notice: Notice) -> list[Piece]:
    title = [said(notice.title)] if notice.kind == "external" else []
    return title + [piece for number, block in enumerate(notice.blocks) for piece in _block(notice, block, number)]


def _block(notice: Notice, block: Block, number: int) -> Iterator[Piece]:
    """A block's name, its text, and the renderer's remark on it."""
    if notice.kind == "external" and block.text == visible(notice.title):
        return
    if block.label == OWN_WORDS and "\n" not in block.text and len(block.text) <= SHORT:
        yield words("The agent says: ") + said(block.text)
        return
    if not _said_before(notice, block, number):
        yield said(block.label)
    yield box(block.text, LANGUAGES.get(block.kind, "")) if block.text else words("No difference.")
    if block.note and not block.quiet:
        yield remark(block.note)


def _said_before(notice: Notice, block: Block, number: int) -> bool:
    """Whether the headline tells what this block is."""
    return number == 0 and (block.kind in ("command", "plan") or notice.kind == "external")


def _beginning(notice: Notice) -> list[Piece]:
    """The first lines of all that would run, and what is missing, by name and number."""
    left, lost, unseen = CUT_LINES, 0, []
    shown: list[Piece] = [said(one_line(notice.title, SHORT))] if notice.kind == "external" else []
    missing = 0
    blocks = [block for block in notice.blocks if block.label != TITLE or notice.kind != "external"]
    for number, block in enumerate(blocks):
        rows = block.text.split("\n")
        kept = [cut_to(row, CUT_WIDTH) for row in rows[:left]]
        left -= len(kept)
        lost += len(rows) - len(kept)
        missing += len(block.text) - len("\n".join(kept))
        if kept:
            name = [] if _said_before(notice, block, number) else [said(cut_to(block.label, SHORT))]
            shown += [*name, box("\n".join(kept), LANGUAGES.get(block.kind, ""))]
        else:
            unseen.append(one_line(block.label, SHORT // 4))
    parts = words("Not at all: ") + said(", ".join(unseen[:4])) if unseen else NOTHING
    more = (f"{lost:,} more lines, " if lost else "") + f"{missing:,} more characters"
    cut = words("✂️ ") + strong("Cut.") + words(f" Not shown here: {more}. Approve after “Show all”.")
    return [*shown, cut, parts, *_endings(blocks), *_remarks(blocks), _digest(notice)]


def _endings(blocks: Sequence[Block]) -> list[Piece]:
    """The last lines of the longest block, which the beginning does not show."""
    longest = max(blocks, key=lambda block: len(block.text), default=None)
    if longest is None or (longest.text.count("\n") < CUT_LINES and len(longest.text) <= CUT_WIDTH):
        return []
    return [words("It ends with:"), box(cut_to(ending_of(longest.text), 2 * SHORT))]


def _remarks(blocks: Sequence[Block]) -> list[Piece]:
    """What the renderer says about letters that pass for others, and the like."""
    return [remark(cut_to(block.note, 2 * SHORT)) for block in blocks if block.note and not block.quiet][:2]


def _digest(notice: Notice) -> Piece:
    return words("Digest of the whole: ") + said(notice.digest) if notice.digest else NOTHING


def _risk(notice: Notice) -> Piece:
    if notice.kind != "tool":
        return NOTHING
    why = words(": ") + words(one_line(notice.risk_reason, SHORT)) if notice.risk_reason else NOTHING
    return strong(f"{notice.risk.capitalize()} risk") + why


def _where(notice: Notice, directory: str) -> Piece:
    """Session, agent, host, directory; an external asker's facts are shown with its question and nowhere else."""
    if notice.kind == "external":
        return NOTHING
    title, agent, host, helper = (
        one_line(str(notice.facts.get(name) or ""), SHORT) for name in ("session", "agent", "host", "sub_agent")
    )
    who = [said(text) for text in (title, agent, helper) if text]
    place = [said(text) for text in (host, directory) if text]
    return lines([_dotted("💬 ", who), _dotted("🖥 ", place)])


def _secrets(notice: Notice) -> Piece:
    """How many values stand as ``[secret 1]``, and where to see them."""
    if not notice.secrets:
        return NOTHING
    count = "1 secret is hidden" if notice.secrets == 1 else f"{notice.secrets} secrets are hidden"
    return words("🔒 ") + strong(count) + words("; see the console") + link(notice.details_url) + words(".")


def _dotted(mark: str, pieces: list[Piece]) -> Piece:
    return words(mark) + lines(pieces, between=" · ") if pieces else NOTHING


def _deadline(notice: Notice) -> Piece:
    """Always the last line: it is taken away when the question is closed."""
    if notice.never_expires:
        return words(UNTIL + NEVER_WORDS)
    clock = f"{notice.expires_at.astimezone(UTC):%H:%M} UTC"
    within = moment(notice.expires_at, "r", f"within {_about(notice.seconds_left)}")
    return words(UNTIL + "Answer ") + within + words(", by ") + moment(notice.expires_at, "t", clock)


def _left(notice: Notice) -> str:
    return NEVER_WORDS if notice.never_expires else f"{_about(notice.seconds_left)} left"


def _about(seconds: float) -> str:
    """A time left, as exact as it matters on something that was sent a while ago."""
    return f"{round(seconds)} s" if seconds < 100 else f"{round(seconds / 60)} min"


def _above(told: Piece, notice: Notice, shown: str, keys: tuple[Row, ...]) -> Card:
    """``told`` and below it what was ``shown``; only the title where that is unknown or does not fit any more."""
    below = _still_true(shown)
    if not below or not _fits(told, below):
        below = said(one_line(notice.title, SHORT))
    return _card(lines([told, below], between="\n\n"), keys)


def _still_true(shown: str) -> Piece:
    """What was sent, without the time that was left then."""
    before, _, last = shown.rpartition("\n")
    body = before if last.startswith(UNTIL) else shown
    return Piece(plain_of(body), body)


def _fits(told: Piece, below: Piece) -> bool:
    return told.size + below.size + 2 <= LONGEST_MESSAGE


def _listed(number: int, notice: Notice, outcome: Outcome | None) -> Piece:
    title = said(one_line(notice.title, 70))
    if outcome is None:
        until = words(NEVER_WORDS) if notice.never_expires else moment(notice.expires_at, "r", _left(notice))
        return words(f"{number}. {RISK_MARKS.get(notice.risk, '🟡')} ") + title + words(" · ") + until
    mark, verb = ended(outcome)
    who = words(" by ") + said(one_line(outcome.decided_by, 30)) if outcome.decided_by else NOTHING
    return words(f"{number}. {mark} ") + title + words(f" · {verb}") + who
