"""Commands in the chat: /pending, /status, /mute, /link, /help, /start."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from approvals.commands import record_attempt
from approvals.models import Approval, DecisionSource
from approvals.stop import commands as stops
from escalation import commands, queries
from escalation.models import Approver, Delivery, Message
from escalation.telegram import status, stop_all
from escalation.telegram.api.client import BotApi
from escalation.telegram.inbound.after_commit import Aftermath
from escalation.telegram.inbound.people import UNKNOWN, Person
from escalation.telegram.messages import cards, render
from escalation.telegram.messages.markup import NOTHING, Piece, lines, moment, said, strong, words
from orchestra.auth.actor import Actor, acting
from orchestra.auth.permissions import Right, may
from orchestra.db import leases

LONGEST_MUTE = timedelta(hours=24)
SPAN = re.compile(r"(?:(\d{1,3})\s*d)?\s*(?:(\d{1,3})\s*h)?\s*(?:(\d{1,4})\s*m(?:in)?)?", re.IGNORECASE)
CALL = re.compile(r"/([A-Za-z0-9_]{1,32})(?:@(\w+))?(?:\s+(.*))?", re.DOTALL)
MENU = {
    "pending": "what waits for a decision",
    "stop": "stop all agents, at once: /stop REASON",
    "resume": "let them go on; I ask back",
    "status": "how Orchestra and you are doing",
    "mute": "no sound and no reminders for a while: /mute 1h, /mute off",
    "link": "tell Orchestra who you are: /link CODE",
    "help": "what I understand",
}


@dataclass(frozen=True, slots=True)
class Order:
    """A command somebody wrote; ``rest`` is what followed its name."""

    person: Person
    name: str
    rest: str
    message: int
    after: Aftermath

    def reply(self, *pieces: Piece) -> None:
        self.after.reply(self.person.chat, self.message, lines(pieces))


def menu() -> list[dict[str, str]]:
    """For the list of commands that a phone offers (Bot API, setMyCommands)."""
    return [{"command": name, "description": text} for name, text in MENU.items()]


def handle(said_text: str, person: Person, message: int, after: Aftermath, *, ours: bool) -> None:
    """Do what a command says. In a chat that is neither ours nor private, nothing is said at all."""
    found = CALL.fullmatch(said_text.strip())
    if found is None or not (ours or person.private) or not _is_for_us(found[2]):
        return
    order = Order(person, found[1].lower(), (found[3] or "").strip(), message, after)
    if not person.is_person:
        order.reply(words("I cannot see who you are: write under your own name."))
    elif order.name in OPEN_TO_ALL:
        OPEN_TO_ALL[order.name](order)
    elif order.name in ORDERS:
        _for_the_known(order)
    elif person.private:
        order.reply(words("I do not know that command. /help says what I understand."))


def _for_the_known(order: Order) -> None:
    approver = order.person.approver
    if approver is None or not may(approver.user, Right.READ):
        order.person.audit_refusal(f"/{order.name}")
        order.reply(words(UNKNOWN if approver is None else "Your account may not see requests."))
    else:
        ORDERS[order.name](order, approver)


def _help(order: Order) -> None:
    head = strong("I bring you what agents ask, and take your answer back to them.")
    how = words("Tap a button below a card. Words of others stand in monospace; all else is Orchestra's own.")
    order.reply(head, how, *(words(f"/{name} – {text}") for name, text in MENU.items()))  # noqa: RUF001 - for people


def _link(order: Order) -> None:
    if not order.rest:
        order.reply(words("Ask the operator for a code (./manage.py telegram link NAME), then send: /link CODE"))
        return
    person = order.person
    with acting(lambda: Actor(person.account, DecisionSource.TELEGRAM, person.address)):
        linked = commands.link_approver(code=order.rest, telegram_user=person.telegram_user, telegram_name=person.name)
    account = linked.user.get_username() if linked else person.account
    record_attempt(
        action="linked", won=linked is not None, by=account, via=DecisionSource.TELEGRAM, address=person.address,
        reason="" if linked else "wrong or old code",
    )  # fmt: skip
    if linked is None:
        order.reply(words("This code is wrong, used or too old. Ask for a new one."))
        return
    right = "You may decide requests." if may(linked.user, Right.DECIDE) else "Your account may not decide requests."
    order.reply(words("✅ You are ") + said(account) + words(f". {right}"))


def _pending(order: Order, approver: Approver) -> None:
    commands.open_missing_deliveries(batch=render.MOST_IN_A_LIST)
    waiting = queries.open_deliveries(limit=render.MOST_IN_A_LIST)
    if not waiting:
        order.reply(words("Nothing waits for a decision."))
        return
    chat, message = order.person.chat, order.message
    order.after.do(lambda api: _post_list(api, waiting, chat, message))


def _post_list(api: BotApi, waiting: list[Delivery], chat: int, reply_to: int) -> None:
    told = queries.told_of(waiting, whole=False)
    if told:
        (delivery, _), *also = told
        cards.post(
            api, chat=chat, card=render.several([(notice, None) for _, notice in told]), delivery=delivery,
            also=[one for one, _ in also], kind=Message.Kind.LIST, reply_to=reply_to,
        )  # fmt: skip


def _status(order: Order, approver: Approver) -> None:
    told = status.told()
    waiting = Approval.objects.filter(status=Approval.Status.PENDING).count()
    right = "may answer" if may(approver.user, Right.DECIDE) else "may not answer"
    untold = told["outbox_depth"]
    in_force = stops.current_stop()
    order.reply(
        stop_all.headline(in_force) if in_force else NOTHING,
        strong(f"{waiting} {'request waits' if waiting == 1 else 'requests wait'} for a decision")
        + words(f", {untold} not told yet." if untold else "."),
        words("You are ") + said(order.person.account) + words(f" and {right}."),
        _muted(approver),
        words("Telegram works." if told["healthy"] else "Telegram has trouble; see the health page."),
    )


def _mute(order: Order, approver: Approver) -> None:
    if order.rest.lower() == "off":
        commands.mute(approver, until=None)
        order.reply(words("🔔 Sound is on."))
        return
    span = span_of(order.rest)
    if span is None:
        order.reply(words("How long? /mute 30m, /mute 1h, /mute off; a day at most."))
        return
    until = approver.read_at + span  # type: ignore[attr-defined]
    commands.mute(approver, until=until)
    order.reply(
        words("🔕 No reminders and no sound for you until ") + _clock(until) + words(". Cards still come."),
        words("While others who may answer have sound, so does the chat. /mute off ends it."),
    )


def span_of(text: str) -> timedelta | None:
    """30m, 1h, 1h30m, 2 h; None if it is nothing of the kind, or longer than a day."""
    found = SPAN.fullmatch(text.strip())
    if found is None or not any(found.groups()):
        return None
    days, hours, minutes = (int(part or 0) for part in found.groups())
    span = timedelta(days=days, hours=hours, minutes=minutes)
    return span if timedelta(0) < span <= LONGEST_MUTE else None


def _muted(approver: Approver) -> Piece:
    until = approver.muted_until
    if until is None or until <= approver.read_at:  # type: ignore[attr-defined]
        return words("🔔 Sound is on.")
    return words("🔕 Muted until ") + _clock(until) + words(".")


def _clock(at: datetime) -> Piece:
    return moment(at, "t", f"{at:%H:%M} UTC")


def _is_for_us(bot: str | None) -> bool:
    """Whether /command@bot names us; anybody's if our own name is not known yet."""
    own = leases.read_state(status.LEASE).get("bot")
    return not bot or not own or bot.lower() == str(own).lower()


OPEN_TO_ALL: dict[str, Callable[[Order], None]] = {"help": _help, "start": _help, "link": _link}
ORDERS: dict[str, Callable[[Order, Approver], None]] = {
    "pending": _pending, "status": _status, "mute": _mute, "stop": stop_all.stop, "resume": stop_all.resume,
}  # fmt: skip
