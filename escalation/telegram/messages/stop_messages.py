"""Messages about a stop of all agents: its announcement, its state, its end."""

from datetime import timedelta

from django.db.models.functions import Now

from approvals.models import Stop
from approvals.stop import commands as stops
from approvals.stop import presentation as stop_words
from escalation.telegram.api.client import BotApi
from escalation.telegram.messages import cards
from escalation.telegram.messages.markup import Piece, day_and_time, lines, quote, strong, words
from escalation.telegram.messages.message import Card
from orchestra.db import leases

ANNOUNCED = "telegram.stop"  # the lease row that stores what was announced in the chat
ANNOUNCE_WITHIN = timedelta(hours=1)  # older stops that have ended are not announced
NOT_STOPPED = "The agents are not stopped. Nothing was changed."


def announce_stop(api: BotApi) -> None:
    """Announce the latest stop in the chat: it started, it interrupts now, or it was lifted.

    The state is saved after the message is sent, so a crash in between may repeat an announcement
    but never loses it.

    Raises:
        BotApiError: the announcement was not sent.
    """
    latest = Stop.objects.order_by("-started_at").first()
    if latest is None:
        return
    state = {"stop": str(latest.pk), "state": latest.mode if latest.is_in_force else "lifted"}
    if leases.read_state(ANNOUNCED) == state:
        return
    if latest.is_in_force or Stop.objects.filter(pk=latest.pk, lifted_at__gt=Now() - ANNOUNCE_WITHIN).exists():
        text = describe_stop(latest)
        cards.post(api, chat=api.chat, card=Card(text=text.html, plain=text.plain))
    leases.write_state(ANNOUNCED, state)


def describe_stop(stop: Stop) -> Piece:
    """Return the announcement of ``stop`` for everyone in the chat."""
    if not stop.is_in_force:
        return describe_lift(stop)
    how = words(f"{stop_words.effect(stop)} {stop_words.WAITS}")
    return lines([render_headline(stop), how, words("/resume lets agents go on.")])


def render_headline(stop: Stop) -> Piece:
    why = words("Reason: ") + quote(stop_words.reason(stop)) if stop.reason else words("No reason was given.")
    by = words("By ") + quote(stop_words.who(stop)) + words(" since ") + day_and_time(stop.started_at) + words(".")
    return lines([strong("🛑 All agents are stopped."), by, why])


def describe_lift(stop: Stop) -> Piece:
    by = words("▶️ ") + strong("Agents go on where they stood.")
    who = words("The stop of ") + quote(stop.started_by) + words(" was lifted by ") + quote(stop.lifted_by)
    return lines([by, who + words(f" after {stops.lasted(stop)}.")])
