"""Checks of the setup. Each one tries the real thing and reports in words what to fix."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from escalation import conf, queries
from escalation.errors import BotApiError, ChatMoved, ChatUnusable, PollerConflict, Refused, TokenRefused
from escalation.models import Approver, Button
from escalation.telegram import status
from escalation.telegram.api.client import BotApi
from escalation.telegram.api.error_mapping import cure_for
from escalation.telegram.messages import cards
from escalation.telegram.messages.message import Card, InlineButton
from escalation.telegram.messages.posting import prove_writable
from orchestra.db import leases, notify

TEST_TEXT = "<b>Orchestra can reach you.</b>\nTap the button to prove that you can reach Orchestra."
TEST_PLAIN = "Orchestra can reach you. Tap the button to prove that you can reach Orchestra."


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. ``good`` is None for information that needs no fix."""

    good: bool | None
    text: str


def run_checks(api: BotApi) -> Iterator[Finding]:
    """Check everything from the token to the tapped test card.

    Stop at a failure that blocks the rest.

    A reader may look only at the last line, so a check passes only if all of it works.
    """
    if not settings.TELEGRAM.token:
        yield Finding(False, status.find_missing_setting())
        return
    try:
        me = api.call_once("getMe", timeout_s=10.0)
    except TokenRefused:
        yield Finding(False, "Telegram does not know this token. Copy all of it, or have @BotFather make a new one.")
        return
    except BotApiError as error:
        yield Finding(False, f"Telegram does not answer: {error.detail} Is outbound HTTPS open?")
        return
    yield Finding(True, f"The token is right: this is @{me.get('username', '?')}.")
    if not settings.TELEGRAM.enabled:
        yield Finding(False, status.find_missing_setting())
    yield from _check_webhook(api)
    if not settings.TELEGRAM.chat_id:
        yield from _list_chats_seen(api)
        return
    yield from _check_chat(api, int(me["id"]))
    yield from _check_people()
    yield from _check_process()


def post_test_card(api: BotApi) -> Button:
    """Send the test card; return its button, whose ``used_at`` is set by a tap.

    Raises:
        BotApiError: the card was not sent.
    """
    button = InlineButton(label="It works", action=Button.Action.TEST)
    number = cards.post(api, chat=api.chat, card=Card(text=TEST_TEXT, plain=TEST_PLAIN, keyboard=((button,),)))
    return Button.objects.get(action=Button.Action.TEST, chat=api.chat, message=number)


def _check_webhook(api: BotApi) -> Iterator[Finding]:
    try:
        hook = api.call_once("getWebhookInfo", timeout_s=10.0)
    except BotApiError as error:
        yield Finding(False, f"The webhook's state could not be read: {error.detail}")
        return
    url, wanted = str(hook.get("url", "")), settings.TELEGRAM.mode == conf.WEBHOOK
    ours, waiting = conf.webhook_url(), int(hook.get("pending_update_count", 0))
    if wanted and not url:
        yield Finding(None, "No webhook is set yet; the telegram process sets it when it starts.")
    elif wanted and url != ours:
        yield Finding(False, f"The webhook leads to {url} and not to {ours}: start the telegram process again.")
    elif wanted:
        yield Finding(True, f"The webhook is {url}; {waiting} updates wait.")
    elif url:
        yield Finding(
            False, f"A webhook is set ({url}), but TELEGRAM_MODE is polling; the telegram process removes it."
        )
    if hook.get("last_error_message"):
        failing = False if wanted and waiting else None
        yield Finding(failing, f"Telegram's last trouble with the webhook: {hook['last_error_message']}")


def _list_chats_seen(api: BotApi) -> Iterator[Finding]:
    yield Finding(False, f"TELEGRAM_CHAT_ID is not {'a number' if settings.TELEGRAM.chat else 'set'}.")
    try:
        updates = api.call_once("getUpdates", timeout_s=10.0, timeout=0)
    except PollerConflict:
        updates = []
    except BotApiError as error:
        yield Finding(False, f"The chats that the bot has seen could not be read: {error.detail}")
        return
    chats = {chat["id"]: chat for update in updates if (chat := _chat_of(update))}
    if not chats:
        yield Finding(None, "Write /start to the bot, or /start@BOT in a group it is in, and run this check again.")
    for number, chat in chats.items():
        name = chat.get("title") or chat.get("username") or chat.get("first_name") or "?"
        yield Finding(None, f"Seen: {chat.get('type', 'chat')} “{name}”: TELEGRAM_CHAT_ID={number}")
    for group, topic in sorted({place for update in updates if (place := _topic_of(update))}):
        yield Finding(None, f"Seen in {group}: topic {topic}: TELEGRAM_TOPIC_ID={topic}")


def _check_chat(api: BotApi, bot: int) -> Iterator[Finding]:
    try:
        chat = api.call_once("getChat", timeout_s=10.0, chat_id=api.chat)
        member = api.call_once("getChatMember", timeout_s=10.0, chat_id=api.chat, user_id=bot)
    except ChatUnusable as lost:
        yield Finding(False, f"The bot cannot see this chat ({lost.detail}). {cure_for(lost.detail)}")
        return
    except ChatMoved as moved:
        yield Finding(False, f"The group became a supergroup: set TELEGRAM_CHAT_ID={moved.chat}.")
        return
    except Refused as refused:
        yield Finding(False, f"Telegram refuses this chat: {refused.detail}")
        return
    except BotApiError as error:
        yield Finding(False, f"The chat could not be read: {error.detail}")
        return
    name = chat.get("title") or chat.get("username") or chat.get("first_name") or "?"
    yield from _check_writable(api, f"{chat.get('type', 'the chat')} “{name}”", str(member.get("status", "?")))
    if api.chat != settings.TELEGRAM.chat_id:
        yield Finding(False, f"The group became a supergroup: set TELEGRAM_CHAT_ID={api.chat}.")
    if settings.TELEGRAM.topic_id and not chat.get("is_forum"):
        yield Finding(
            False, "TELEGRAM_TOPIC_ID is set, but this chat has no topics: leave it empty, or turn topics on."
        )


def _check_writable(api: BotApi, name: str, role: str) -> Iterator[Finding]:
    """Send a message to find out.

    The rights that Telegram reports for a chat do not cover its topics.
    """
    topic = settings.TELEGRAM.topic_id
    place = f"{name}, topic {topic}" if topic else name
    try:
        prove_writable(api)
    except Refused as refused:
        text = f"The bot ({role}) may not write to {place}: {refused.detail}. {cure_for(refused.detail)}"
        yield Finding(False, text)
    except BotApiError as error:
        yield Finding(False, f"It is unknown whether the bot may write to {place}: {error.detail}")
    else:
        yield Finding(True, f"The bot may write to {place}.")
        if leases.read_state(status.LEASE).get("off"):
            notify.send(status.TOPIC, status.PROBE_CHAT)  # the process need not wait for its next probe


def _check_people() -> Iterator[Finding]:
    linked = Approver.objects.filter(telegram_user__isnull=False).count()
    if linked:
        yield Finding(True, f"{linked} {'person has' if linked == 1 else 'people have'} linked their Telegram account.")
    else:
        yield Finding(False, "No person has linked a Telegram account yet: ./manage.py telegram link USER.")


def _check_process() -> Iterator[Finding]:
    trouble = status.find_problem() if settings.TELEGRAM.configured else ""
    if leases.is_held(status.LEASE):
        yield Finding(True, "The telegram process runs.")
        if trouble:
            yield Finding(False, trouble)
    else:
        yield Finding(False, "The telegram process does not run: `make run` starts it, or ./manage.py telegram.")
    if not trouble and (why := queries.undelivered_reason()):
        yield Finding(False, f"The last message for an approval request failed: {why}. {cure_for(why)}")
    if status.is_tested():
        yield Finding(True, "A test card was sent and tapped.")
    else:
        yield Finding(False, "No test card was tapped yet: ./manage.py telegram test-card.")


def _topic_of(update: dict[str, Any]) -> tuple[int, int] | None:
    message = update.get("message") or {}
    topic = message.get("message_thread_id") if message.get("is_topic_message") else None
    return (int(message["chat"]["id"]), int(topic)) if topic else None


def _chat_of(update: dict[str, Any]) -> dict[str, Any] | None:
    for kind in ("message", "my_chat_member"):
        chat = (update.get(kind) or {}).get("chat")
        if isinstance(chat, dict) and "id" in chat:
            return chat
    return None
