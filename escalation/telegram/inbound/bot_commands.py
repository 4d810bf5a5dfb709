"""Bot commands: /pending, /stop, /resume, /status, /mute, /link, /help, /start."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from approvals.commands import record_attempt
from approvals.models import Approval, DecisionSource
from approvals.stop import commands as stops
from escalation import commands, outbox, queries
from escalation.models import Approver, Button, Delivery, Message
from escalation.telegram import status
from escalation.telegram.api.client import BotApi
from escalation.telegram.inbound.after_commit import AfterCommitActions
from escalation.telegram.inbound.people import UNKNOWN, Person
from escalation.telegram.messages import cards, render, stop_messages
from escalation.telegram.messages.markup import NOTHING, Piece, lines, moment, quote, strong, words
from escalation.telegram.messages.message import Card, InlineButton
from orchestra.auth.actor import Actor, acting
from orchestra.auth.permissions import Right, may, rights_of
from orchestra.db import leases

LONGEST_MUTE = timedelta(hours=24)
DURATION_PATTERN = re.compile(r"(?:(\d{1,3})\s*d)?\s*(?:(\d{1,3})\s*h)?\s*(?:(\d{1,4})\s*m(?:in)?)?", re.IGNORECASE)
COMMAND_PATTERN = re.compile(r"/([A-Za-z0-9_]{1,32})(?:@(\w+))?(?:\s+(.*))?", re.DOTALL)
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
class BotCommand:
    """A command that a person sent; ``rest`` is the text after its name."""

    person: Person
    name: str
    rest: str
    message: int
    after: AfterCommitActions

    def reply(self, *pieces: Piece) -> None:
        self.after.reply(self.person.chat, self.message, lines(pieces))


def build_menu() -> list[dict[str, str]]:
    """Return the commands that a phone offers (Bot API, setMyCommands)."""
    return [{"command": name, "description": text} for name, text in MENU.items()]


def handle(text: str, person: Person, message: int, after: AfterCommitActions, *, ours: bool) -> None:
    """Run the command in ``text``.

    Commands in a chat that is neither ours nor private get no reply.
    """
    found = COMMAND_PATTERN.fullmatch(text.strip())
    if found is None or not (ours or person.private) or not _is_for_us(found[2]):
        return
    command = BotCommand(person, found[1].lower(), (found[3] or "").strip(), message, after)
    if not person.is_person:
        command.reply(words("I cannot see who you are: write under your own name."))
    elif command.name in PUBLIC_COMMANDS:
        PUBLIC_COMMANDS[command.name](command)
    elif command.name in APPROVER_COMMANDS:
        _run_for_approver(command)
    elif person.private:
        command.reply(words("I do not know that command. /help says what I understand."))


def _run_for_approver(command: BotCommand) -> None:
    approver = command.person.approver
    if approver is None or not may(approver.user, Right.READ):
        command.person.audit_refusal(f"/{command.name}")
        command.reply(words(UNKNOWN if approver is None else "Your account may not see requests."))
    else:
        APPROVER_COMMANDS[command.name](command, approver)


def _help(command: BotCommand) -> None:
    head = strong("I bring you what agents ask, and take your answer back to them.")
    how = words("Tap a button below a card. Words of others stand in monospace; all else is Orchestra's own.")
    command.reply(head, how, *(words(f"/{name} – {text}") for name, text in MENU.items()))  # noqa: RUF001 - for people


def _link(command: BotCommand) -> None:
    if not command.rest:
        command.reply(words("Ask the operator for a code (./manage.py telegram link NAME), then send: /link CODE"))
        return
    person = command.person
    with acting(lambda: Actor(person.account, DecisionSource.TELEGRAM, person.address)):
        linked = commands.link_approver(
            code=command.rest, telegram_user=person.telegram_user, telegram_name=person.name
        )
    account = linked.user.get_username() if linked else person.account
    record_attempt(
        action="linked", won=linked is not None, by=account, via=DecisionSource.TELEGRAM, address=person.address,
        reason="" if linked else "wrong or old code",
    )  # fmt: skip
    if linked is None:
        command.reply(words("This code is wrong, used or too old. Ask for a new one."))
        return
    right = "You may decide requests." if may(linked.user, Right.DECIDE) else "Your account may not decide requests."
    command.reply(words("✅ You are ") + quote(account) + words(f". {right}"))


def _pending(command: BotCommand, approver: Approver) -> None:
    outbox.open_missing_deliveries(batch=render.MOST_IN_A_LIST)
    waiting = queries.open_deliveries(limit=render.MOST_IN_A_LIST)
    if not waiting:
        command.reply(words("Nothing waits for a decision."))
        return
    chat, message = command.person.chat, command.message
    command.after.add(lambda api: _post_list(api, waiting, chat, message))


def _post_list(api: BotApi, waiting: list[Delivery], chat: int, reply_to: int) -> None:
    notices = queries.build_delivery_notices(waiting, with_blocks=False)
    if notices:
        (delivery, _), *also = notices
        cards.post(
            api, chat=chat, card=render.render_list([(notice, None) for _, notice in notices]), delivery=delivery,
            also=[one for one, _ in also], kind=Message.Kind.LIST, reply_to=reply_to,
        )  # fmt: skip


def _status(command: BotCommand, approver: Approver) -> None:
    channel = status.read_status()
    waiting = Approval.objects.filter(status=Approval.Status.PENDING).count()
    right = "may answer" if may(approver.user, Right.DECIDE) else "may not answer"
    undelivered = channel["outbox_depth"]
    in_force = stops.current_stop()
    command.reply(
        stop_messages.render_headline(in_force) if in_force else NOTHING,
        strong(f"{waiting} {'request waits' if waiting == 1 else 'requests wait'} for a decision")
        + words(f", {undelivered} not told yet." if undelivered else "."),
        words("You are ") + quote(command.person.account) + words(f" and {right}."),
        _describe_mute(approver),
        words("Telegram works." if channel["healthy"] else "Telegram has trouble; see the health page."),
    )


def _stop(command: BotCommand, approver: Approver) -> None:
    """Stop all agents at once, without a confirmation."""
    if not stops.MAY_STOP & rights_of(approver.user):
        command.person.audit_refusal("/stop")
        command.reply(words("Your account may not stop agents. Nothing was changed."))
        return
    made, new = stops.stop_all(
        by=command.person.account, via=DecisionSource.TELEGRAM, reason=command.rest, address=command.person.address
    )
    command.reply(
        words("🛑 Stopped.") if new else stop_messages.render_headline(made), words("/resume lets agents go on.")
    )


def _resume(command: BotCommand, approver: Approver) -> None:
    """Ask for a confirmation. The button lifts only the stop that it was made for."""
    if not stops.MAY_LIFT & rights_of(approver.user):
        command.person.audit_refusal("/resume")
        command.reply(words("Your account may not let agents go on. Nothing was changed."))
        return
    in_force = stops.current_stop()
    if in_force is None:
        command.reply(words(stop_messages.NOT_STOPPED))
        return
    text = lines([stop_messages.render_headline(in_force), words("Let agents go on where they stood?")])
    button = InlineButton(label="Let agents go on", action=Button.Action.LIFT, value={"stop": str(in_force.pk)})
    card = Card(text=text.html, plain=text.plain, keyboard=((button,),))
    chat, message = command.person.chat, command.message
    command.after.add(lambda api: cards.post(api, chat=chat, card=card, reply_to=message))


def _mute(command: BotCommand, approver: Approver) -> None:
    if command.rest.lower() == "off":
        commands.mute_approver(approver, until=None)
        command.reply(words("🔔 Sound is on."))
        return
    duration = parse_duration(command.rest)
    if duration is None:
        command.reply(words("How long? /mute 30m, /mute 1h, /mute off; a day at most."))
        return
    until = approver.read_at + duration  # type: ignore[attr-defined]
    commands.mute_approver(approver, until=until)
    command.reply(
        words("🔕 No reminders and no sound for you until ") + _render_clock(until) + words(". Cards still come."),
        words("While others who may answer have sound, so does the chat. /mute off ends it."),
    )


def parse_duration(text: str) -> timedelta | None:
    """Parse 30m, 1h, 1h30m or 2 h. Return None for other texts and for more than a day."""
    found = DURATION_PATTERN.fullmatch(text.strip())
    if found is None or not any(found.groups()):
        return None
    days, hours, minutes = (int(part or 0) for part in found.groups())
    duration = timedelta(days=days, hours=hours, minutes=minutes)
    return duration if timedelta(0) < duration <= LONGEST_MUTE else None


def _describe_mute(approver: Approver) -> Piece:
    until = approver.muted_until
    if until is None or until <= approver.read_at:  # type: ignore[attr-defined]
        return words("🔔 Sound is on.")
    return words("🔕 Muted until ") + _render_clock(until) + words(".")


def _render_clock(at: datetime) -> Piece:
    return moment(at, "t", f"{at:%H:%M} UTC")


def _is_for_us(bot: str | None) -> bool:
    """Return True if /command@bot names this bot. Any name is accepted while our own is unknown."""
    own = leases.read_state(status.LEASE).get("bot")
    return not bot or not own or bot.lower() == str(own).lower()


PUBLIC_COMMANDS: dict[str, Callable[[BotCommand], None]] = {"help": _help, "start": _help, "link": _link}
APPROVER_COMMANDS: dict[str, Callable[[BotCommand, Approver], None]] = {
    "pending": _pending, "status": _status, "mute": _mute, "stop": _stop, "resume": _resume,
}  # fmt: skip
