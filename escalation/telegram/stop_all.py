"""The stop of all agents in the chat: /stop, /resume with its button, and the announcements of
both.
"""

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from django.db.models.functions import Now

from approvals.errors import AnotherStop, StopNotFound
from approvals.models import DecisionSource, Stop
from approvals.stop import commands as stops
from approvals.stop import presentation as stop_words
from escalation.models import Approver, Button
from escalation.telegram.api.client import BotApi
from escalation.telegram.inbound.callback_queries import CallbackQuery
from escalation.telegram.messages import cards
from escalation.telegram.messages.markup import Piece, day_and_time, lines, quote, strong, words
from escalation.telegram.messages.message import Card, InlineButton
from orchestra.auth.permissions import rights_of
from orchestra.db import leases

if TYPE_CHECKING:  # bot_commands imports this module
    from escalation.telegram.inbound.bot_commands import BotCommand

ANNOUNCED = "telegram.stop"  # the lease row that stores what was announced in the chat
ANNOUNCE_WITHIN = timedelta(hours=1)  # older stops that have ended are not announced
NOT_STOPPED = "The agents are not stopped. Nothing was changed."
Action = Button.Action


def stop(command: "BotCommand", approver: Approver) -> None:
    """Stop all agents at once, without a confirmation."""
    if not stops.MAY_STOP & rights_of(approver.user):
        command.person.audit_refusal("/stop")
        command.reply(words("Your account may not stop agents. Nothing was changed."))
        return
    made, new = stops.stop_all(
        by=command.person.account, via=DecisionSource.TELEGRAM, reason=command.rest, address=command.person.address
    )
    command.reply(words("🛑 Stopped.") if new else render_headline(made), words("/resume lets agents go on."))


def resume(command: "BotCommand", approver: Approver) -> None:
    """Ask for a confirmation. The button lifts only the stop that it was made for."""
    if not stops.MAY_LIFT & rights_of(approver.user):
        command.person.audit_refusal("/resume")
        command.reply(words("Your account may not let agents go on. Nothing was changed."))
        return
    in_force = stops.current_stop()
    if in_force is None:
        command.reply(words(NOT_STOPPED))
        return
    text = lines([render_headline(in_force), words("Let agents go on where they stood?")])
    key = InlineButton(label="Let agents go on", action=Action.LIFT, value={"stop": str(in_force.pk)})
    card = Card(text=text.html, plain=text.plain, keys=((key,),))
    chat, message = command.person.chat, command.message
    command.after.add(lambda api: cards.post(api, chat=chat, card=card, reply_to=message))


def lift(query: CallbackQuery) -> None:
    """Handle the button of /resume.

    A second press, or a button of an earlier stop, changes nothing.
    """
    try:
        lifted = stops.lift_stop(
            by=query.person.account, via=DecisionSource.TELEGRAM, stop_id=UUID(query.button.value["stop"]),
            address=query.person.address,
        )  # fmt: skip
    except (AnotherStop, StopNotFound) as error:
        query.answer(f"Nothing was changed. {error.detail} Write /resume.", alert=True)
        return
    query.use_button()
    query.answer("Agents go on.")
    text = _describe_lift(lifted) if lifted else words(NOT_STOPPED)
    card, chat, number = Card(text=text.html, plain=text.plain), query.button.chat, query.number
    query.after.add(lambda api: cards.edit(api, chat=chat, message=number, card=card))


def announce_stop(api: BotApi) -> None:
    """Announce the state of the latest stop in the chat: it started, it interrupts now, or it was
    lifted.

    The state is saved after the message is sent, so a crash in between may repeat an announcement
    but never loses it.

    Raises:
        BotApiError: the announcement was not sent.
    """
    latest = Stop.objects.order_by("-started_at").first()
    if latest is None:
        return
    state = {"stop": str(latest.pk), "state": latest.mode if latest.is_in_force else "lifted"}
    if leases.noted(ANNOUNCED) == state:
        return
    if latest.is_in_force or Stop.objects.filter(pk=latest.pk, lifted_at__gt=Now() - ANNOUNCE_WITHIN).exists():
        text = describe_stop(latest)
        cards.post(api, chat=api.chat, card=Card(text=text.html, plain=text.plain))
    leases.note(ANNOUNCED, state)


def describe_stop(stop: Stop) -> Piece:
    """Return the announcement of ``stop`` for everyone in the chat."""
    if not stop.is_in_force:
        return _describe_lift(stop)
    how = words(f"{stop_words.effect(stop)} {stop_words.WAITS}")
    return lines([render_headline(stop), how, words("/resume lets agents go on.")])


def render_headline(stop: Stop) -> Piece:
    why = words("Reason: ") + quote(stop_words.reason(stop)) if stop.reason else words("No reason was given.")
    by = words("By ") + quote(stop_words.who(stop)) + words(" since ") + day_and_time(stop.started_at) + words(".")
    return lines([strong("🛑 All agents are stopped."), by, why])


def _describe_lift(stop: Stop) -> Piece:
    by = words("▶️ ") + strong("Agents go on where they stood.")
    who = words("The stop of ") + quote(stop.started_by) + words(" was lifted by ") + quote(stop.lifted_by)
    return lines([by, who + words(f" after {stops.lasted(stop)}.")])
