"""Post and edit cards, with single-use buttons, and record which message shows what."""

import hashlib
import logging
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from escalation.errors import BotApiError, Refused
from escalation.models import Button, Delivery, Message
from escalation.telegram.api.client import BotApi
from escalation.telegram.messages.message import Card, InlineButton
from orchestra.db import sql

logger = logging.getLogger(__name__)

Markup = dict[str, Any]
COPIES_NEAR = 5
NO_PREVIEW = {"is_disabled": True}
SENT_TWICE = "This was sent twice because the connection was lost. The message below counts."


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedCard:
    """A card that may be sent once its ``buttons`` are saved."""

    chat: int
    card: Card
    params: dict[str, Any]
    buttons: list[Button]


def post(
    api: BotApi,
    *,
    chat: int,
    card: Card,
    delivery: Delivery | None = None,
    also: Sequence[Delivery] = (),
    kind: str = Message.Kind.CARD,
    reply_to: int = 0,
    silent: bool = False,
) -> int:
    """Send ``card`` with new buttons; return the number of the message.

    Buttons belong to the approval of ``delivery``, unless their value names another. With
    ``delivery`` the message is recorded, so that it is settled when the approval closes. A list is
    recorded for ``also`` too.

    Raises:
        BotApiError: it was not sent, or perhaps it was (``NotReached.may_have_succeeded``).
    """
    prepared = prepare(chat=chat, card=card, delivery=delivery, reply_to=reply_to, silent=silent)
    if prepared.buttons:
        with sql.async_commit():  # a crash that loses the buttons loses the delivery too: it is sent again
            Button.objects.bulk_create(prepared.buttons)
    return send(api, prepared, about=[one for one in (delivery, *also) if one is not None], kind=kind)


def prepare(
    *, chat: int, card: Card, delivery: Delivery | None = None, reply_to: int = 0, silent: bool = False
) -> PreparedCard:
    """Create the buttons of ``card``. They must be saved before the card is sent."""
    buttons, markup = build_keyboard(card, chat=chat, approval_id=delivery.approval_id if delivery else None)
    more: dict[str, Any] = {"reply_markup": markup} if markup else {}
    if reply_to:
        more["reply_parameters"] = {"message_id": reply_to, "allow_sending_without_reply": True}
    if silent:
        more["disable_notification"] = True
    return PreparedCard(chat=chat, card=card, params=more, buttons=buttons)


def send(api: BotApi, prepared: PreparedCard, *, about: Sequence[Delivery], kind: str = Message.Kind.CARD) -> int:
    """Send a prepared card and record it for every delivery in ``about``.

    Return the number of the message.

    Raises:
        BotApiError: as `post`.
    """
    card = prepared.card
    sent = _send_html_or_plain(api, "sendMessage", card, chat_id=prepared.chat, **prepared.params)
    doubtful = api.doubtful
    # the chat differs from the request if the group moved
    number, chat = int(sent["message_id"]), int(sent["chat"]["id"])
    with transaction.atomic():
        Button.objects.filter(pk__in=[button.pk for button in prepared.buttons]).update(chat=chat, message=number)
        _remember(about, kind=kind, chat=chat, number=number, text=card.text)
    if doubtful and about:
        _remove_copies(api, chat, number, about)
    return number


def _remember(deliveries: Sequence[Delivery], *, kind: str, chat: int, number: int, text: str) -> None:
    """Record a message that was sent.

    A person may press a button before this row exists. `find_button` then records the message as a
    copy; this function changes the kind of that row and keeps its ``value``.
    """
    Message.objects.bulk_create(
        [Message(delivery=one, kind=kind, chat=chat, message=number, text=text) for one in deliveries],
        update_conflicts=True, unique_fields=["chat", "message", "delivery"], update_fields=["kind", "text"],
    )  # fmt: skip


def edit(api: BotApi, *, chat: int, message: int, card: Card, delivery: Delivery | None = None) -> None:
    """Replace the text and the buttons of a message with those of ``card``.

    Raises:
        BotApiError: as `post`.
    """
    approval_id = delivery.approval_id if delivery else None
    buttons, markup = build_keyboard(card, chat=chat, approval_id=approval_id, message=message)
    Button.objects.bulk_create(buttons)
    more = {"reply_markup": markup} if markup else {}
    _send_html_or_plain(api, "editMessageText", card, chat_id=chat, message_id=message, **more)


def build_keyboard(
    card: Card, *, chat: int, approval_id: UUID | None, message: int | None = None
) -> tuple[list[Button], Markup | None]:
    """Return new, unsaved buttons, and the inline keyboard with their tokens as the Bot API takes
    it.

    The keyboard is None for a card without buttons. A button whose value names an ``approval``
    belongs to that one, and not to ``approval_id``.
    """
    buttons: list[Button] = []

    def render_button(inline: InlineButton) -> dict[str, str]:
        if inline.url:
            return {"text": inline.label, "url": inline.url}
        token = secrets.token_urlsafe(24)
        approval = UUID(inline.value["approval"]) if "approval" in inline.value else approval_id
        buttons.append(
            Button(
                token_sha256=hash_token(token),
                approval_id=approval,
                action=inline.action,
                value=inline.value,
                chat=chat,
                message=message,
            )
        )
        return {"text": inline.label, "callback_data": token}

    rows = [[render_button(inline) for inline in row] for row in card.keyboard]
    return buttons, ({"inline_keyboard": rows} if rows else None)


def find_button(token: str, *, chat: int, message: int) -> Button | None:
    """Return the button with ``token`` in this chat and message.

    Return None if it is forged or belongs elsewhere.

    If the response to a send was lost, an unknown copy of the message has valid tokens. This
    function then records the number of the copy, so that it is settled too.
    """
    button = Button.objects.filter(token_sha256=hash_token(token), chat=chat).first()
    if button is None:
        return None
    return button if button.message == message or _is_copy(button, chat, message) else None


def use_button(button: Button) -> bool:
    """Mark a button as used; return False if it was used before.

    Call this in the transaction of the effect, after the rights of the person were checked.
    """
    return bool(Button.objects.filter(pk=button.pk, used_at=None).update(used_at=Now()))


def retire_buttons(*, chat: int, message: int) -> None:
    """Invalidate the unused buttons of a message that is about to be edited."""
    Button.objects.filter(chat=chat, message=message, used_at=None).update(used_at=Now())


def hash_token(token: str) -> str:
    """Return the hash under which a token or link code is stored."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _is_copy(button: Button, chat: int, message: int) -> bool:
    """Return True, and record it, if ``message`` is an unknown copy of one with this button."""
    delivery = Delivery.objects.filter(approval=button.approval_id).first()
    if delivery is None or not (button.message is None or delivery.doubtful):
        return False
    if Message.objects.filter(chat=chat, message=message).exclude(delivery=delivery).exists():
        return False
    Message.objects.get_or_create(chat=chat, message=message, delivery=delivery, defaults={"kind": Message.Kind.COPY})
    return True


def _remove_copies(api: BotApi, chat: int, number: int, deliveries: Sequence[Delivery]) -> None:
    """Look for copies just before the confirmed message, and remove their buttons.

    Telegram has no call that lists messages. Removing buttons affects only our own messages with
    buttons, so guessing numbers is safe.
    """
    Delivery.objects.filter(pk__in=[delivery.pk for delivery in deliveries]).update(doubtful=True)
    near = range(number - 1, max(0, number - 1 - COPIES_NEAR), -1)
    known: set[int | None] = set(Message.objects.filter(chat=chat, message__in=near).values_list("message", flat=True))
    known |= set(Button.objects.filter(chat=chat, message__in=near).values_list("message", flat=True))
    for suspect in near:
        if suspect in known:
            break
        with suppress(BotApiError):
            found = api.call_once("editMessageReplyMarkup", chat_id=chat, message_id=suspect)
            if isinstance(found, dict):
                api.call_once("editMessageText", chat_id=chat, message_id=suspect, text=SENT_TWICE)


def _send_html_or_plain(api: BotApi, method: str, card: Card, **params: Any) -> Any:
    """Send the HTML.

    If Telegram cannot parse it, which is a bug of ours, send the plain text once.
    """
    try:
        if card.marked:
            return api.call(method, text=card.text, parse_mode="HTML", link_preview_options=NO_PREVIEW, **params)
    except Refused as refused:
        if "can't parse entities" not in refused.description.lower():
            raise
        logger.error("telegram %s failed, a bug: %s; sending it as plain text", method, refused.detail)
    return api.call(method, text=card.plain, link_preview_options=NO_PREVIEW, **params)
