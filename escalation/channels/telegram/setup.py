"""Set-up by proof: what is right, what is not, and what to do about it, in words."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from escalation import conf
from escalation.channels.telegram import cards, status
from escalation.channels.telegram.card import Card, Key
from escalation.channels.telegram.client import BotApi
from escalation.errors import BotApiError, ChatUnusable, PollerConflict, Refused, TokenRefused
from escalation.models import Approver, Button
from orchestra import leases

TEST_TEXT = "<b>Orchestra can reach you.</b>\nTap the button to prove that you can reach Orchestra."
TEST_PLAIN = "Orchestra can reach you. Tap the button to prove that you can reach Orchestra."
CAN_WRITE = ("creator", "administrator", "member")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. ``good`` is None for something to know rather than to mend."""

    good: bool | None
    text: str


def findings(api: BotApi) -> Iterator[Finding]:
    """Look at everything between us and the people, from the token to the tapped test card; stops at what blocks."""
    if not settings.TELEGRAM.token:
        yield Finding(False, "TELEGRAM_BOT_TOKEN is not set. Write /newbot to @BotFather and copy the token it gives.")
        return
    try:
        me = api.once("getMe", timeout_s=10.0)
    except TokenRefused:
        yield Finding(False, "Telegram does not know this token. Copy it whole, or have @BotFather make a new one.")
        return
    except BotApiError as error:
        yield Finding(False, f"Telegram does not answer: {error.detail} Is outbound HTTPS open?")
        return
    yield Finding(True, f"The token is right: this is @{me.get('username', '?')}.")
    yield from _webhook(api)
    if not settings.TELEGRAM.chat_id:
        yield from _chats_seen(api)
        return
    yield from _chat(api, int(me["id"]))
    yield from _people()
    yield from _rest()


def post_test_card(api: BotApi) -> Button:
    """Send the card that has to be tapped; its button knows whether it was.

    Raises:
        BotApiError: it was not sent.
    """
    key = Key(label="It works", action=Button.Action.TEST)
    number = cards.post(api, chat=api.chat, card=Card(text=TEST_TEXT, plain=TEST_PLAIN, keys=((key,),)))
    return Button.objects.get(action=Button.Action.TEST, chat=api.chat, message=number)


def _webhook(api: BotApi) -> Iterator[Finding]:
    try:
        hook = api.once("getWebhookInfo", timeout_s=10.0)
    except BotApiError as error:
        yield Finding(False, f"The webhook's state could not be read: {error.detail}")
        return
    url, wanted = str(hook.get("url", "")), settings.TELEGRAM.mode == conf.WEBHOOK
    if wanted and not url:
        yield Finding(None, "No webhook is set yet; the telegram process sets it when it starts.")
    elif wanted:
        yield Finding(True, f"The webhook is {url}; {hook.get('pending_update_count', 0)} updates wait.")
    elif url:
        yield Finding(False, "A webhook is set, but TELEGRAM_MODE is polling; the telegram process takes it away.")
    if hook.get("last_error_message"):
        yield Finding(None, f"Telegram's last trouble with the webhook: {hook['last_error_message']}")


def _chats_seen(api: BotApi) -> Iterator[Finding]:
    yield Finding(False, "TELEGRAM_CHAT_ID is not set.")
    try:
        updates = api.once("getUpdates", timeout_s=10.0, timeout=0)
    except PollerConflict:
        updates = []
    except BotApiError as error:
        yield Finding(False, f"Nobody could be asked which chats there are: {error.detail}")
        return
    chats = {chat["id"]: chat for update in updates if (chat := _chat_of(update))}
    if not chats:
        yield Finding(None, "Write /start to the bot, or /start@BOT in a group it is in, and run this check again.")
    for number, chat in chats.items():
        name = chat.get("title") or chat.get("username") or chat.get("first_name") or "?"
        yield Finding(None, f"Seen: {chat.get('type', 'chat')} “{name}”: TELEGRAM_CHAT_ID={number}")


def _chat(api: BotApi, bot: int) -> Iterator[Finding]:
    try:
        chat = api.once("getChat", timeout_s=10.0, chat_id=api.chat)
        member = api.once("getChatMember", timeout_s=10.0, chat_id=api.chat, user_id=bot)
    except ChatUnusable:
        yield Finding(False, "The bot cannot see this chat. Write /start to it, or add it to the group.")
        return
    except Refused as refused:
        yield Finding(False, f"Telegram refuses this chat: {refused.detail}")
        return
    except BotApiError as error:
        yield Finding(False, f"The chat could not be read: {error.detail}")
        return
    name = chat.get("title") or chat.get("username") or chat.get("first_name") or "?"
    if api.chat != settings.TELEGRAM.chat_id:
        yield Finding(False, f"The group became a supergroup: set TELEGRAM_CHAT_ID={api.chat}.")
    if chat.get("type") == "private" or member.get("status") in CAN_WRITE:
        yield Finding(True, f"The bot may write to {chat.get('type', 'the chat')} “{name}”.")
    else:
        yield Finding(False, f"The bot is in “{name}” but may not write there ({member.get('status', '?')}).")


def _people() -> Iterator[Finding]:
    linked = Approver.objects.filter(telegram_user__isnull=False).count()
    if linked:
        yield Finding(True, f"{linked} {'person has' if linked == 1 else 'people have'} linked their Telegram account.")
    else:
        yield Finding(False, "Nobody has linked their account yet: ./manage.py telegram link USER.")


def _rest() -> Iterator[Finding]:
    if leases.is_held(status.LEASE):
        yield Finding(True, "The telegram process runs.")
    else:
        yield Finding(False, "The telegram process does not run: `make run` starts it, or ./manage.py telegram.")
    if status.is_tested():
        yield Finding(True, "A test card was sent and tapped.")
    else:
        yield Finding(False, "No test card was tapped yet: ./manage.py telegram test-card.")


def _chat_of(update: dict[str, Any]) -> dict[str, Any] | None:
    for kind in ("message", "my_chat_member"):
        chat = (update.get(kind) or {}).get("chat")
        if isinstance(chat, dict) and "id" in chat:
            return chat
    return None
