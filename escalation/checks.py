"""System checks that stop the start when settings contradict each other."""

import re

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning

from escalation import conf

TOKEN = re.compile(r"\d+:[\w-]{5,}", re.ASCII)
SECRET = re.compile(r"[A-Za-z0-9_-]{1,256}")  # Bot API, setWebhook: secret_token


def check_settings(**_kwargs: object) -> list[CheckMessage]:
    """Report each bad setting by its name.

    The reports never contain a value, because values are secrets.
    """
    telegram = settings.TELEGRAM
    if not telegram.enabled:
        return []
    found: list[CheckMessage] = []
    if not telegram.token:
        found.append(Error("TELEGRAM_ENABLED is on, but TELEGRAM_BOT_TOKEN is not set.", id="escalation.E001"))
    elif not TOKEN.fullmatch(telegram.token):
        hint = "Copy all of it from @BotFather: digits, a colon, letters."
        found.append(Error("TELEGRAM_BOT_TOKEN does not look like a bot's token.", hint=hint, id="escalation.E002"))
    if not telegram.chat:
        hint = "Cards are not sent. `manage.py telegram check` finds the chat's number."
        found.append(Warning("TELEGRAM_CHAT_ID is not set.", hint=hint, id="escalation.W001"))
    elif not telegram.chat_id:
        found.append(Error("TELEGRAM_CHAT_ID is not a number.", id="escalation.E003"))
    if telegram.topic and not (telegram.topic.isascii() and telegram.topic.isdigit() and int(telegram.topic) > 0):
        hint = "It is the number in the topic's link, https://t.me/c/CHAT/TOPIC; leave it empty for the whole chat."
        found.append(Error("TELEGRAM_TOPIC_ID is not a positive whole number.", hint=hint, id="escalation.E007"))
    if telegram.mode not in (conf.POLLING, conf.WEBHOOK):
        found.append(Error("TELEGRAM_MODE is polling or webhook.", id="escalation.E004"))
    if telegram.mode == conf.WEBHOOK and not SECRET.fullmatch(telegram.webhook_secret):
        hint = "1 to 256 of A-Z a-z 0-9 _ -; `openssl rand -hex 32` makes one."
        found.append(Error("The webhook needs TELEGRAM_WEBHOOK_SECRET.", hint=hint, id="escalation.E005"))
    if telegram.mode == conf.WEBHOOK and not settings.ORCHESTRA.public_url:
        found.append(Error("The webhook needs ORCHESTRA_PUBLIC_URL, which Telegram calls.", id="escalation.E006"))
    return found
