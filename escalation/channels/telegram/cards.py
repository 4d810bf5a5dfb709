"""Putting cards into a chat: buttons with single-use tokens, and the rows that remember what stands where."""

import hashlib
import secrets
from typing import Any
from uuid import UUID

from django.db.models.functions import Now

from escalation.channels.telegram.card import Card, Key
from escalation.channels.telegram.client import BotApi
from escalation.errors import Refused
from escalation.models import Button, Delivery, Message

Markup = dict[str, Any]


def post(
    api: BotApi,
    *,
    chat: int,
    card: Card,
    delivery: Delivery | None = None,
    kind: str = Message.Kind.CARD,
    reply_to: int = 0,
    silent: bool = False,
) -> int:
    """Send ``card`` with fresh buttons; the number of the new message.

    Buttons are bound to the approval of ``delivery``, unless their value names one. With ``delivery`` the message is
    remembered, so that it is settled when the approval closes.

    Raises:
        BotApiError: it was not sent, or perhaps it was (``NotReached.perhaps_done``).
    """
    buttons, markup = keyboard(card, chat=chat, approval_id=delivery.approval_id if delivery else None)
    Button.objects.bulk_create(buttons)
    more: dict[str, Any] = {"reply_markup": markup} if markup else {}
    if reply_to:
        more["reply_parameters"] = {"message_id": reply_to, "allow_sending_without_reply": True}
    if silent:
        more["disable_notification"] = True
    sent = _in_html_or_plain(api, "sendMessage", card, chat_id=chat, **more)
    number = int(sent["message_id"])
    Button.objects.filter(pk__in=[button.pk for button in buttons]).update(message=number)
    if delivery is not None:
        Message.objects.create(
            delivery=delivery, kind=kind, chat=int(sent["chat"]["id"]), message=number, text=card.text
        )
    return number


def edit(api: BotApi, *, chat: int, message: int, card: Card, approval_id: UUID | None = None) -> None:
    """Bring a message up to ``card``: without keys its buttons go away, with keys it gets fresh ones.

    Raises:
        BotApiError: as `post`.
    """
    buttons, markup = keyboard(card, chat=chat, approval_id=approval_id, message=message)
    Button.objects.bulk_create(buttons)
    more = {"reply_markup": markup} if markup else {}
    _in_html_or_plain(api, "editMessageText", card, chat_id=chat, message_id=message, **more)


def keyboard(
    card: Card, *, chat: int, approval_id: UUID | None, message: int | None = None
) -> tuple[list[Button], Markup | None]:
    """New unsaved buttons for a card's keys, and the markup that carries their tokens; None without keys."""
    buttons: list[Button] = []

    def drawn(key: Key) -> dict[str, str]:
        if key.url:
            return {"text": key.label, "url": key.url}
        token = secrets.token_urlsafe(24)
        about = UUID(key.value["approval"]) if "approval" in key.value else approval_id
        buttons.append(
            Button(
                token_sha256=hashed(token),
                approval_id=about,
                action=key.action,
                value=key.value,
                chat=chat,
                message=message,
            )
        )
        return {"text": key.label, "callback_data": token}

    rows = [[drawn(key) for key in row] for row in card.keys]
    return buttons, ({"inline_keyboard": rows} if rows else None)


def pressed(token: str, *, chat: int, message: int) -> Button | None:
    """The button with that token if it stands in this chat and message; None if it is forged, foreign or stray.

    The number of a message whose sending was never confirmed is learned here: it is a copy, and will be settled too.
    """
    button = Button.objects.filter(token_sha256=hashed(token), chat=chat).first()
    if button is None or button.message not in (None, message):
        return None
    if button.message is None and not _learn(button, chat, message):
        return None
    return button


def use(button: Button) -> bool:
    """Spend it; False if it was spent before. Call it in the transaction of its effect, after judging the person."""
    return bool(Button.objects.filter(pk=button.pk, used_at=None).update(used_at=Now()))


def hashed(token: str) -> str:
    """How a token or a code is kept."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _learn(button: Button, chat: int, message: int) -> bool:
    """Whether an unbound button may stand in ``message``: no other message that we know of has that number."""
    delivery = Delivery.objects.filter(approval=button.approval_id).first()
    if delivery is None or Message.objects.filter(chat=chat, message=message).exclude(delivery=delivery).exists():
        return False
    Button.objects.filter(pk=button.pk, message=None).update(message=message)
    Message.objects.get_or_create(chat=chat, message=message, delivery=delivery, defaults={"kind": Message.Kind.COPY})
    return True


def _in_html_or_plain(api: BotApi, method: str, card: Card, **params: Any) -> Any:
    """Send the HTML; if Telegram cannot parse it, which is a bug of ours, the plain text once."""
    try:
        return api.call(method, text=card.text, parse_mode="HTML", link_preview_options={"is_disabled": True}, **params)
    except Refused as refused:
        if "can't parse entities" not in refused.description.lower():
            raise
    return api.call(method, text=card.plain, link_preview_options={"is_disabled": True}, **params)
