"""A stop of all agents in the chat: /stop, /resume with its button, and the news of both to everybody there."""

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
from escalation.telegram.inbound.callback_queries import Press
from escalation.telegram.messages import cards
from escalation.telegram.messages.markup import Piece, day_and_time, lines, said, strong, words
from escalation.telegram.messages.message import Card, Key
from orchestra.auth.permissions import rights_of
from orchestra.db import leases

if TYPE_CHECKING:  # it leads here
    from escalation.telegram.inbound.bot_commands import Order

NOTE = "telegram.stop"  # the lease that remembers what the chat was told
NEWS_FOR = timedelta(hours=1)  # a stop that was over before anybody was told is no news later
NOT_STOPPED = "The agents are not stopped. Nothing was changed."
A = Button.Action


def stop(order: "Order", approver: Approver) -> None:
    """Stop all agents, at once and without asking back."""
    if not stops.MAY_STOP & rights_of(approver.user):
        order.person.audit_refusal("/stop")
        order.reply(words("Your account may not stop agents. Nothing was changed."))
        return
    made, new = stops.stop_all(
        by=order.person.account, via=DecisionSource.TELEGRAM, reason=order.rest, address=order.person.address
    )
    order.reply(words("🛑 Stopped.") if new else headline(made), words("/resume lets agents go on."))


def resume(order: "Order", approver: Approver) -> None:
    """Ask back: the button below lifts the stop that it was made for."""
    if not stops.MAY_LIFT & rights_of(approver.user):
        order.person.audit_refusal("/resume")
        order.reply(words("Your account may not let agents go on. Nothing was changed."))
        return
    in_force = stops.current_stop()
    if in_force is None:
        order.reply(words(NOT_STOPPED))
        return
    text = lines([headline(in_force), words("Let agents go on where they stood?")])
    key = Key(label="Let agents go on", action=A.LIFT, value={"stop": str(in_force.pk)})
    card = Card(text=text.html, plain=text.plain, keys=((key,),))
    chat, message = order.person.chat, order.message
    order.after.do(lambda api: cards.post(api, chat=chat, card=card, reply_to=message))


def lift(press: Press) -> None:
    """The button of /resume; a second press, or one on the button of an earlier stop, changes nothing."""
    try:
        lifted = stops.lift_stop(
            by=press.person.account, via=DecisionSource.TELEGRAM, stop_id=UUID(press.button.value["stop"]),
            address=press.person.address,
        )  # fmt: skip
    except (AnotherStop, StopNotFound) as error:
        press.say(f"Nothing was changed. {error.detail} Write /resume.", alert=True)
        return
    press.spend()
    press.say("Agents go on.")
    text = _lifted(lifted) if lifted else words(NOT_STOPPED)
    card, chat, number = Card(text=text.html, plain=text.plain), press.button.chat, press.number
    press.after.do(lambda api: cards.edit(api, chat=chat, message=number, card=card))


def tell(api: BotApi) -> None:
    """Say in the chat what became of the latest stop: that it began, that it interrupts now, that it was lifted.

    What was said is remembered only afterwards: after a crash it may be said twice, and never not at all.

    Raises:
        BotApiError: it was not said.
    """
    latest = Stop.objects.order_by("-started_at").first()
    if latest is None:
        return
    state = {"stop": str(latest.pk), "state": latest.mode if latest.is_in_force else "lifted"}
    if leases.read_state(NOTE) == state:
        return
    if latest.is_in_force or Stop.objects.filter(pk=latest.pk, lifted_at__gt=Now() - NEWS_FOR).exists():
        text = news_of(latest)
        cards.post(api, chat=api.chat, card=Card(text=text.html, plain=text.plain))
    leases.write_state(NOTE, state)


def news_of(stop: Stop) -> Piece:
    """What everybody in the chat should know."""
    if not stop.is_in_force:
        return _lifted(stop)
    how = words(f"{stop_words.effect(stop)} {stop_words.WAITS}")
    return lines([headline(stop), how, words("/resume lets agents go on.")])


def headline(stop: Stop) -> Piece:
    why = words("Reason: ") + said(stop_words.reason(stop)) if stop.reason else words("No reason was given.")
    by = words("By ") + said(stop_words.who(stop)) + words(" since ") + day_and_time(stop.started_at) + words(".")
    return lines([strong("🛑 All agents are stopped."), by, why])


def _lifted(stop: Stop) -> Piece:
    by = words("▶️ ") + strong("Agents go on where they stood.")
    who = words("The stop of ") + said(stop.started_by) + words(" was lifted by ") + said(stop.lifted_by)
    return lines([by, who + words(f" after {stops.lasted(stop)}.")])
