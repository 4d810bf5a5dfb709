"""Telegram as a channel of the outbox: what to say is `render`'s business, how to send it `cards`'."""

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
    """The chat of the settings. A `Channel`."""

    api: BotApi

    def ask(self, notices: Sequence[DeliveryNotice], *, silent: bool) -> None:
        """One question as a card, several as a list.

        Raises:
            BotApiError: nobody was told, or perhaps somebody was (``NotReached.perhaps_done``).
        """
        (_, notice), *rest = notices
        if rest:
            self._post(render.render_list([(one, None) for _, one in notices]), notices, kind=Kind.LIST, silent=silent)
        else:
            self._post(render.render_card(notice), notices, kind=Kind.CARD, silent=silent)

    def prepare(self, notices: DeliveryNotice, *, silent: bool) -> cards.PreparedCard:
        """The card of one question; whoever saves its buttons may `deliver` it."""
        delivery, notice = notices
        return cards.prepare(chat=self.api.chat, card=render.render_card(notice), delivery=delivery, silent=silent)

    def send_prepared(self, prepared: cards.PreparedCard, notices: DeliveryNotice, *, silent: bool) -> None:
        """Send what was drawn.

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
        """One question in reply to its card, several as a list.

        Raises:
            BotApiError: nobody was reminded.
        """
        (delivery, notice), *rest = notices
        if rest:
            self._post(render.render_list([(one, None) for _, one in notices]), notices, kind=Kind.LIST)
            return
        shown_here = delivery.messages.filter(kind__in=(Kind.CARD, Kind.LIST), chat=self.api.chat)
        card = shown_here.order_by("-message").first()
        self._post(render.render_reminder(notice), notices, kind=Kind.REMINDER, reply_to=card.message if card else 0)

    def settle(self, place: Place) -> None:
        """Edit the message at ``place`` to what is true now, and remember it.

        Raises:
            BotApiError: the message still says what it said.
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
            with suppress(Refused):  # a forced reply can be deleted, never edited
                self.api.call("deleteMessage", chat_id=place[0], message_id=place[1])
        else:
            self._settle_one(place, first, notice, outcome)
        done = [row.pk for row, _, end in notices if end is not None]
        Message.objects.filter(pk__in=done).update(live=False)

    def _settle_one(self, place: Place, row: Message, notice: Notice, outcome: Outcome) -> None:
        if row.kind != Kind.CARD:
            outcome = replace(outcome, reopenable=False)  # one button is enough
        card = (
            render.render_settled(notice, outcome, shown=row.text)
            if row.text
            else render.render_outcome(notice, outcome)
        )
        instead = render.render_outcome(notice, outcome) if row.kind == Kind.CARD else None
        self._edit(place, card, row.delivery, instead=instead)

    def _edit(self, place: Place, card: Card, delivery: Delivery | None, *, instead: Card | None = None) -> None:
        """Edit; where that is no longer possible, say it in a new message, if there is one to say ``instead``."""
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
        """Whether a message was left behind in a chat that moved, and its request was told anew in ours."""
        deliveries = Message.objects.filter(chat=place[0], message=place[1]).values("delivery")
        here = Message.objects.filter(delivery__in=deliveries, chat=self.api.chat, kind__in=(Kind.CARD, Kind.LIST))
        return place[0] != self.api.chat and here.exists()

    def _post(self, card: Card, notices: Sequence[DeliveryNotice], **options: Any) -> None:
        """``how`` is the kind of message, whether it is ``silent``, and what it is in ``reply_to``."""
        try:
            self._post_card(card, notices, **options)
        except (ChatUnusable, TokenRefused):
            raise
        except Refused as refused:
            self._post_simpler(card, refused, notices, **options)

    def _post_simpler(self, card: Card, refused: Refused, notices: Sequence[DeliveryNotice], **options: Any) -> None:
        """Try simpler forms of what Telegram refused, which is a bug of ours, or a refusal that we do not know.

        Raises:
            BotApiError: it refused all of them; then it may be the chat, which `Gate` finds out.
        """
        for simpler in _simpler_cards(card, refused, notices[0][1]):
            logger.error("telegram sendMessage failed, a bug: %s; sending it without what was refused", refused.detail)
            try:
                return self._post_card(simpler, notices, **options)
            except (ChatUnusable, TokenRefused):
                raise
            except Refused as again:
                refused = again
        self.api.chat_state.count_refusal()
        raise refused

    def _post_card(self, card: Card, notices: Sequence[DeliveryNotice], **options: Any) -> None:
        delivery, *also = (one for one, _ in notices)
        cards.post(self.api, chat=self.api.chat, card=card, delivery=delivery, also=also, **options)


def _simpler_cards(card: Card, refused: Refused, notice: Notice) -> list[Card]:
    """What may be sent in place of a card that Telegram refused, in this order."""
    least = render.render_minimal(notice)
    if contains_any(refused.description, TOO_LONG):
        return [least]
    if contains_any(refused.description, BAD_KEYBOARD):
        return [replace(card, keys=()), least]
    return [replace(card, marked=False), least]
