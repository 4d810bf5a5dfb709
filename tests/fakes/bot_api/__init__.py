"""A strict local stand-in for api.telegram.org: everything about Telegram is tried and tested against it.

Parts: ``rules`` (texts, keyboards, parameters), ``methods`` (chats, messages, what each method does), ``topics`` (forum
topics, the right to write), ``controls`` (the test's side), ``server`` (HTTP, polling, webhook, faults), ``phone`` (the
chat as a person sees it), ``spec.json`` (the published parameter lists).

It checks every call against the published lists, applies Telegram's limits and error texts, keeps chats, messages and
updates, and lets a test act as the people: press buttons, write messages, block the bot, break the network.

In a test::

    with FakeBotApi(token="123:ABC", chats=[-1001234], users={42: "alice"}) as tg:
        requests.post(f"{tg.bot_url}/sendMessage", json={"chat_id": -1001234, "text": "hi"})
        tg.press(42, -1001234, 1, "Approve")
        tg.assert_clean()

By hand: ``python -m tests.fakes.bot_api --help``.
"""

from tests.fakes.bot_api.server import FakeBotApi

__all__ = ["FakeBotApi"]
