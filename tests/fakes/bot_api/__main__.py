"""The stand-in as a program, for trying Orchestra by hand.

    python -m tests.fakes.bot_api --port 8081 --token 123:ABC --chat -1001234:Ops --user 42:alice
    curl localhost:8081/                          the chats as text
    http://localhost:8081/phone?user=42           the chats as on alice's phone, with buttons that work
    curl localhost:8081/_control/press -d '{"user_id":42,"chat_id":-1001234,"message_id":1,"button":"Approve"}'
    curl localhost:8081/_control/outage -d '{"kind":"hang"}'

Point Orchestra at it with TELEGRAM_API_URL=http://127.0.0.1:8081.
"""

import argparse
import signal
import sys
import threading

from tests.fakes.bot_api import FakeBotApi


def main() -> None:
    fake = _fake(_arguments())
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    with fake:
        print(f"listening on {fake.base_url}", flush=True)
        done.wait()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8081, help="0 picks a free one (default 8081)")
    parser.add_argument("--token", default="123456:TEST-token")
    parser.add_argument("--chat", action="append", default=[], metavar="ID[:TITLE]", help="a group; repeatable")
    parser.add_argument("--user", action="append", default=[], metavar="ID[:USERNAME]", help="a person; repeatable")
    parser.add_argument("--latency", default="0", metavar="LOW[-HIGH]", help="seconds added to every call")
    parser.add_argument("--no-strict", action="store_true", help="accept mistyped parameters like the real server")
    parser.add_argument("--no-flood", action="store_true", help="no rate limits")
    parser.add_argument("--no-privacy", action="store_true", help="the bot sees every message of a group")
    parser.add_argument("--log", action="store_true", help="one line per call on stderr")
    given = sys.argv[1:]
    while "--chat" in given[:-1]:  # -1001234:Title would be taken for an option
        at = given.index("--chat")
        given[at : at + 2] = [f"--chat={given[at + 1]}"]
    return parser.parse_args(given)


def _fake(args: argparse.Namespace) -> FakeBotApi:
    fake = FakeBotApi(
        args.token, host=args.host, port=args.port, strict=not args.no_strict, flood=not args.no_flood,
        privacy_mode=not args.no_privacy, log=args.log,
    )  # fmt: skip
    for user, _, name in (item.partition(":") for item in args.user):
        fake.add_user(int(user), name)
    for chat, _, title in (item.partition(":") for item in args.chat):
        fake.add_chat(int(chat), title)
    fake.set_latency(*map(float, args.latency.split("-")))
    return fake


if __name__ == "__main__":
    main()
