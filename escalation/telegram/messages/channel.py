"""The Telegram `Channel` of the outbox. `render` makes the content, `cards` sends it."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from escalation.channels.base import DeliveryNotice, Notice, Outcome, Place
from escalation.errors import ChatMoved, ChatUnusable, Refused, TokenRefused
from escalation.models import Delivery, Message
from escalation.queries import build_notice, build_notice_and_outcome, messages_at
from escalation.telegram.api.client import BotApi
from escalation.telegram.api.error_mapping import BAD_KEYBOARD, GONE, TOO_LONG, contains_any
from escalation.telegram.messages import cards, render
from escalation.telegram.messages.card_states import render_open_message
from escalation.telegram.messages.message import Card

logger = logging.getLogger(__name__)

Kind = Message.Kind


@dataclass(frozen=True, slots=True)
class Telegram:
    """The configured chat, as a `Channel`."""

    api: BotApi

    def ask(self, notices: Sequence[DeliveryNotice], *, silent: bool) -> None:
        """Send one request as a card, several as a list.

        Raises:
            BotApiError: nothing was sent, or perhaps it was (``NotReached.may_have_succeeded``).
        """
        (_, notice), *rest = notices
        if rest:
            self._post(render.render_list([(one, None) for _, one in notices]), notices, kind=Kind.LIST, silent=silent)
        else:
            self._post(render.render_card(notice), notices, kind=Kind.CARD, silent=silent)

    def prepare(self, notices: DeliveryNotice, *, silent: bool) -> cards.PreparedCard:
        """Return the card of one request. Its buttons must be saved before `send_prepared`."""
        delivery, notice = notices
        return cards.prepare(chat=self.api.chat, card=render.render_card(notice), delivery=delivery, silent=silent)

    def send_prepared(self, prepared: cards.PreparedCard, notices: DeliveryNotice, *, silent: bool) -> None:
        """Send a prepared card.

        Raises:
            BotApiError: as `ask`.
        """
        try:
            cards.send(self.api, prepared, about=[notices[0]])
        except (ChatUnusable, TokenRefused):
            raise
        except Refused as refused:
            self._post_simpler(prepared.card, refused, [notices], kind=Kind.CARD, silent=silent)

    def remind(self, notices: Sequence[DeliveryNotice]) -> None:
        """Remind of one request in reply to its card, of several in a list.

        Raises:
            BotApiError: no reminder was sent.
        """
        (delivery, notice), *rest = notices
        if rest:
            self._post(render.render_list([(one, None) for _, one in notices]), notices, kind=Kind.LIST)
            return
        shown_here = delivery.messages.filter(kind__in=(Kind.CARD, Kind.LIST), chat=self.api.chat)
        card = shown_here.order_by("-message").first()
        self._post(render.render_reminder(notice), notices, kind=Kind.REMINDER, reply_to=card.message if card else 0)

    def settle(self, place: Place) -> None:
        """Edit the message at ``place`` to the present state, and record that.

        Raises:
            BotApiError: the message was not changed.
        """
        rows = messages_at(place)
        if not rows:
            return
        notices = [(row, *build_notice_and_outcome(row.delivery.approval)) for row in rows]
        first, notice, outcome = notices[0]
        if first.kind == Kind.LIST:
            self._edit(place, render.render_list([(about, end) for _, about, end in notices]), None)
        elif outcome is None:
            self._edit(place, render_open_message(first, build_notice(first.delivery.approval)), first.delivery)
        elif first.kind == Kind.PROMPT:
            with suppress(Refused):  # a message with a forced reply can be deleted but not edited
                self.api.call("deleteMessage", chat_id=place[0], message_id=place[1])
        else:
            self._settle_one(place, first, notice, outcome)
        done = [row.pk for row, _, end in notices if end is not None]
        Message.objects.filter(pk__in=done).update(live=False)

    def _settle_one(self, place: Place, row: Message, notice: Notice, outcome: Outcome) -> None:
        if row.kind != Kind.CARD:
            outcome = replace(outcome, reopenable=False)  # only the card gets the button
        card = render.render_settled(notice, outcome, shown=row.text)
        instead = render.render_outcome(notice, outcome) if row.kind == Kind.CARD else None
        self._edit(place, card, row.delivery, instead=instead)

    def _edit(self, place: Place, card: Card, delivery: Delivery | None, *, instead: Card | None = None) -> None:
        """Edit the message; if that is no longer possible, send ``instead`` as a new one."""
        try:
            cards.edit(self.api, chat=place[0], message=place[1], card=card, delivery=delivery)
        except ChatUnusable:
            raise
        except Refused as refused:
            if not (isinstance(refused, ChatMoved) or contains_any(refused.description, GONE)):
                logger.error("telegram editMessageText failed for good: %s", refused.detail)
            if instead is not None and not self._is_resent_here(place):
                cards.post(self.api, chat=self.api.chat, card=instead)

    def _is_resent_here(self, place: Place) -> bool:
        """Return True if the message stayed in a chat that moved and its request was sent to ours."""
        deliveries = Message.objects.filter(chat=place[0], message=place[1]).values("delivery")
        here = Message.objects.filter(delivery__in=deliveries, chat=self.api.chat, kind__in=(Kind.CARD, Kind.LIST))
        return place[0] != self.api.chat and here.exists()

    def _post(self, card: Card, notices: Sequence[DeliveryNotice], **options: Any) -> None:
        """``options`` are the kind of message, ``silent`` and ``reply_to``."""
        try:
            self._post_card(card, notices, **options)
        except (ChatUnusable, TokenRefused):
            raise
        except Refused as refused:
            self._post_simpler(card, refused, notices, **options)

    def _post_simpler(self, card: Card, refused: Refused, notices: Sequence[DeliveryNotice], **options: Any) -> None:
        """Try simpler forms of a refused card. The cause is a bug of ours or an unknown refusal.

        Raises:
            BotApiError: Telegram refused all of them. `ChatState` counts this, as the chat may be
                the cause.
        """
        for simpler in _simpler_cards(card, refused, notices[0][1]):
            logger.error("telegram sendMessage failed, a bug: %s; sending it without what was refused", refused.detail)
            try:
                return self._post_card(simpler, notices, **options)
            except (ChatUnusable, TokenRefused):
                raise
            except Refused as next_refusal:
                refused = next_refusal
        self.api.chat_state.count_refusal()
        raise refused

    def _post_card(self, card: Card, notices: Sequence[DeliveryNotice], **options: Any) -> None:
        delivery, *also = (one for one, _ in notices)
        cards.post(self.api, chat=self.api.chat, card=card, delivery=delivery, also=also, **options)


def _simpler_cards(card: Card, refused: Refused, notice: Notice) -> list[Card]:
    """Return simpler cards in the order to try them."""
    least = render.render_minimal(notice)
    if contains_any(refused.description, TOO_LONG):
        return [least]
    if contains_any(refused.description, BAD_KEYBOARD):
        return [replace(card, keyboard=()), least]
    return [replace(card, marked=False), least]
