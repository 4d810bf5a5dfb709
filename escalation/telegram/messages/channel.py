"""Telegram as a channel of the outbox: what to say is `render`'s business, how to send it `cards`'."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from escalation.channels.base import Notice, Outcome, Place, Told
from escalation.errors import ChatMoved, ChatUnusable, Refused, TokenRefused
from escalation.models import Delivery, Message
from escalation.queries import ends_of, messages_at, notice_of
from escalation.telegram.api.client import BotApi
from escalation.telegram.api.error_mapping import BAD_KEYS, GONE, TOO_LONG, is_about
from escalation.telegram.messages import cards, render
from escalation.telegram.messages.card_states import face
from escalation.telegram.messages.message import Card

logger = logging.getLogger(__name__)

K = Message.Kind


@dataclass(frozen=True, slots=True)
class Telegram:
    """The chat of the settings. A `Channel`."""

    api: BotApi

    def ask(self, told: Sequence[Told], *, silent: bool) -> None:
        """One question as a card, several as a list.

        Raises:
            BotApiError: nobody was told, or perhaps somebody was (``NotReached.perhaps_done``).
        """
        (_, notice), *rest = told
        if rest:
            self._post(render.several([(one, None) for _, one in told]), told, kind=K.LIST, silent=silent)
        else:
            self._post(render.card(notice), told, kind=K.CARD, silent=silent)

    def draw(self, told: Told, *, silent: bool) -> cards.Prepared:
        """The card of one question; whoever saves its buttons may `deliver` it."""
        delivery, notice = told
        return cards.prepare(chat=self.api.chat, card=render.card(notice), delivery=delivery, silent=silent)

    def deliver(self, drawn: cards.Prepared, told: Told, *, silent: bool) -> None:
        """Send what was drawn.

        Raises:
            BotApiError: as `ask`.
        """
        try:
            cards.send(self.api, drawn, about=[told[0]])
        except (ChatUnusable, TokenRefused):
            raise
        except Refused as refused:
            self._post_simpler(drawn.card, refused, [told], kind=K.CARD, silent=silent)

    def remind(self, told: Sequence[Told]) -> None:
        """One question in reply to its card, several as a list.

        Raises:
            BotApiError: nobody was reminded.
        """
        (delivery, notice), *rest = told
        if rest:
            self._post(render.several([(one, None) for _, one in told]), told, kind=K.LIST)
            return
        told_here = delivery.messages.filter(kind__in=(K.CARD, K.LIST), chat=self.api.chat)
        card = told_here.order_by("-message").first()
        self._post(render.reminder(notice), told, kind=K.REMINDER, reply_to=card.message if card else 0)

    def settle(self, place: Place) -> None:
        """Edit the message at ``place`` to what is true now, and remember it.

        Raises:
            BotApiError: the message still says what it said.
        """
        rows = messages_at(place)
        if not rows:
            return
        told = [(row, *ends_of(row.delivery.approval)) for row in rows]
        first, notice, outcome = told[0]
        if first.kind == K.LIST:
            self._edit(place, render.several([(about, end) for _, about, end in told]), None)
        elif outcome is None:
            self._edit(place, face(first, notice_of(first.delivery.approval)), first.delivery)
        elif first.kind == K.PROMPT:
            with suppress(Refused):  # a forced reply can be deleted, never edited
                self.api.call("deleteMessage", chat_id=place[0], message_id=place[1])
        else:
            self._settle_one(place, first, notice, outcome)
        done = [row.pk for row, _, end in told if end is not None]
        Message.objects.filter(pk__in=done).update(live=False)

    def _settle_one(self, place: Place, row: Message, notice: Notice, outcome: Outcome) -> None:
        if row.kind != K.CARD:
            outcome = replace(outcome, reopenable=False)  # one button is enough
        card = render.settled(notice, outcome, shown=row.text) if row.text else render.outcome_only(notice, outcome)
        instead = render.outcome_only(notice, outcome) if row.kind == K.CARD else None
        self._edit(place, card, row.delivery, instead=instead)

    def _edit(self, place: Place, card: Card, delivery: Delivery | None, *, instead: Card | None = None) -> None:
        """Edit; where that is no longer possible, say it in a new message, if there is one to say ``instead``."""
        try:
            cards.edit(self.api, chat=place[0], message=place[1], card=card, delivery=delivery)
        except ChatUnusable:
            raise
        except Refused as refused:
            if not (isinstance(refused, ChatMoved) or is_about(refused.description, GONE)):
                logger.error("telegram editMessageText failed for good: %s", refused.detail)
            if instead is not None and not self._stands_here(place):
                cards.post(self.api, chat=self.api.chat, card=instead)

    def _stands_here(self, place: Place) -> bool:
        """Whether a message was left behind in a chat that moved, and its request was told anew in ours."""
        deliveries = Message.objects.filter(chat=place[0], message=place[1]).values("delivery")
        here = Message.objects.filter(delivery__in=deliveries, chat=self.api.chat, kind__in=(K.CARD, K.LIST))
        return place[0] != self.api.chat and here.exists()

    def _post(self, card: Card, told: Sequence[Told], **how: Any) -> None:
        """``how`` is the kind of message, whether it is ``silent``, and what it is in ``reply_to``."""
        try:
            self._post_as_it_is(card, told, **how)
        except (ChatUnusable, TokenRefused):
            raise
        except Refused as refused:
            self._post_simpler(card, refused, told, **how)

    def _post_simpler(self, card: Card, refused: Refused, told: Sequence[Told], **how: Any) -> None:
        """Try simpler forms of what Telegram refused, which is a bug of ours, or a refusal that we do not know.

        Raises:
            BotApiError: it refused all of them; then it may be the chat, which `Gate` finds out.
        """
        for simpler in _simpler(card, refused, told[0][1]):
            logger.error("telegram sendMessage failed, a bug: %s; sending it without what was refused", refused.detail)
            try:
                return self._post_as_it_is(simpler, told, **how)
            except (ChatUnusable, TokenRefused):
                raise
            except Refused as again:
                refused = again
        self.api.gate.count_refusal()
        raise refused

    def _post_as_it_is(self, card: Card, told: Sequence[Told], **how: Any) -> None:
        delivery, *also = (one for one, _ in told)
        cards.post(self.api, chat=self.api.chat, card=card, delivery=delivery, also=also, **how)


def _simpler(card: Card, refused: Refused, notice: Notice) -> list[Card]:
    """What may be sent in place of a card that Telegram refused, in this order."""
    least = render.least(notice)
    if is_about(refused.description, TOO_LONG):
        return [least]
    if is_about(refused.description, BAD_KEYS):
        return [replace(card, keys=()), least]
    return [replace(card, marked=False), least]
