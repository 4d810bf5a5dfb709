"""Who gets into the live hub, what they may do there, and how it ends."""

import contextlib
import json
import re
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.contrib.auth.models import Group, User
from django.test import Client as Browser
from django.utils import timezone
from knox.models import AuthToken
from websockets.exceptions import ConnectionClosed, InvalidStatus

from approvals.models import Approval
from orchestra.auth.groups import permissions_of
from orchestra.auth.permissions import Right
from orchestra.auth.views import end_everywhere
from orchestra.realtime import origin, registry
from orchestra.realtime.consumers import MOST_SUBSCRIPTIONS
from orchestra.realtime.limits import FRAME_BURST, LARGEST_MESSAGE, LARGEST_MESSAGE_BEFORE_SIGN_IN
from sessions_app.models import AgentSession
from tests.factories import make_approval, make_session, make_user, token_for
from tests.hub import Client, client
from tests.orchestra.test_api_rights import ROLES
from tests.web import PATIENCE_S, Web, running, until

pytestmark = pytest.mark.django_db(transaction=True)

# Topic or command, and who may. "own" means an asker, as far as it asked itself.
TABLE = {
    "approvals": "viewer operator approver own administrator",
    "sessions": "viewer operator approver administrator",
    "session:<pk>": "viewer operator approver administrator",
    "diagnostics": "viewer operator approver administrator",
    "stop": "viewer operator approver asker administrator",
    "start_session": "operator administrator",
    "send_message": "operator administrator",
    "cancel_session": "operator administrator",
    "decide": "approver administrator",
    "reopen": "approver administrator",
}


def browser_of(user: User) -> Browser:
    browser = Browser()
    browser.force_login(user)
    return browser


def page(web: Web, browser: Browser, **options: Any) -> Any:
    """A socket as one of our pages opens it."""
    cookie = f"sessionid={browser.cookies['sessionid'].value}"
    own = {"origin": f"http://127.0.0.1:{web.port}", "additional_headers": {"Cookie": cookie}}
    return client(web.port, **own | options)


# --- coming in


def test_a_page_of_ours_is_let_in_by_its_cookie(hub_web: Web) -> None:
    with page(hub_web, browser_of(make_user("vera", group="Viewer"))) as vera:
        assert vera.hear() == {"type": "authenticated", "user": "vera", "rights": ["read"]}
        assert vera.ask("authenticate", token="x")["code"] == "invalid", "somebody is signed in already"
        assert vera.ask("ping")["type"] == "pong"


def test_a_decision_on_a_page_came_by_the_dashboard(hub_web: Web) -> None:
    approval = make_approval()
    with page(hub_web, browser_of(make_user("bea", group="Approver"))) as bea:
        assert bea.ask("decide", approval=str(approval.pk), approved=False)["type"] == "accepted"
    assert Approval.objects.get().decided_via == "dashboard"


@pytest.mark.parametrize(
    "foreign", ["http://evil.example", "null", "http://127.0.0.1:1", "https://localhost.evil.example"]
)
def test_a_foreign_page_gets_nothing(hub_web: Web, foreign: str) -> None:
    with page(hub_web, browser_of(make_user(group="Administrator")), origin=foreign) as mine:
        assert (mine.closed(), mine.kept) == (4403, [])


def test_a_cookie_without_a_page_is_no_sign_in(hub_web: Web) -> None:
    with page(hub_web, browser_of(make_user(group="Administrator")), origin=None) as mine:
        assert mine.ask("subscribe", topic="approvals")["code"] == "not_authenticated"
        assert mine.ask("authenticate", token=hub_web.token)["type"] == "authenticated"


@pytest.mark.parametrize("value", ["x", "", '"', "sessionid"])
def test_a_wrong_cookie_is_no_sign_in(hub_web: Web, value: str) -> None:
    headers = {"Cookie": f"a=b; sessionid={value}"}
    with client(hub_web.port, origin=f"http://127.0.0.1:{hub_web.port}", additional_headers=headers) as mine:
        assert mine.ask("ping")["code"] == "not_authenticated"


def test_who_does_not_sign_in_in_time_is_out(hub_web: Web) -> None:
    with client(hub_web.port) as mine:
        began = time.monotonic()
        mine.say("ping")
        assert mine.closed() == 4401
        assert time.monotonic() - began > 4
        assert [message["code"] for message in mine.kept] == ["not_authenticated"]


@pytest.mark.parametrize("token", ["", "wrong", "\ud800", "a\0b", "ä", None, 5, "x" * 5000])
def test_a_wrong_token_ends_the_socket(hub_web: Web, token: Any) -> None:
    with client(hub_web.port) as mine:
        mine.say("authenticate", token=token, ref=1)
        assert mine.closed() == 4401
        assert [(m["ref"], m["code"]) for m in mine.kept] == [(1, "not_authenticated")]


def test_expired_tokens_and_closed_accounts_are_wrong_tokens(hub_web: Web) -> None:
    old, gone = make_user(group="Viewer"), make_user(group="Viewer")
    tokens = [AuthToken.objects.create(old, expiry=timedelta(seconds=-1))[1], token_for(gone)]
    User.objects.filter(pk=gone.pk).update(is_active=False)
    for token in tokens:
        with client(hub_web.port) as mine:
            mine.say("authenticate", token=token)
            assert mine.closed() == 4401


def test_a_token_in_the_address_is_neither_taken_nor_logged(hub_web: Web) -> None:
    with client(hub_web.port, path=f"/ws/hub?token={hub_web.token}") as mine:
        assert mine.ask("ping")["code"] == "not_authenticated"
    hub_web.log.flush()
    assert hub_web.token not in hub_web.path_of_log.read_text()


def test_there_is_no_socket_elsewhere(hub_web: Web) -> None:
    for path in ("/", "/ws", "/ws/hub/x", "/api/sessions"):
        with pytest.raises(InvalidStatus, match="403"), client(hub_web.port, path=path):
            pass
    with client(hub_web.port, hub_web.token, path="/ws/hub/"):
        pass


@pytest.mark.parametrize(
    ("page", "host", "fits"),
    [
        ("http://localhost:5284", "localhost:5284", True),
        ("http://localhost", "localhost", True),
        ("https://localhost", "localhost:443", True),
        ("http://localhost:5285", "localhost:5284", False),
        ("http://testserver", "localhost", False),
        ("http://evil.example", "evil.example", False),
        ("https://orchestra.example", "localhost:5284", True),
        ("http://orchestra.example", "localhost:5284", False),
        ("https://a.team.example", "localhost:5284", True),
        ("https://team.example.evil", "localhost:5284", False),
        ("null", "localhost", False),
        ("file://", "localhost", False),
        ("", "localhost", False),
        ("http://localhost:x", "localhost:x", False),
        ("http://[::1", "localhost", False),
    ],
)
def test_which_pages_may_open_a_socket(settings: Any, page: str, host: str, fits: bool) -> None:
    settings.ALLOWED_HOSTS = ["localhost", "testserver"]
    settings.CSRF_TRUSTED_ORIGINS = ["https://orchestra.example", "https://*.team.example"]
    assert origin.is_allowed(page, host) is fits


# --- what one may do


def test_every_topic_and_command_has_a_row() -> None:
    known = {*registry.lists, *(f"{prefix}:<pk>" for prefix in registry.logs), *registry.commands}
    assert known == set(TABLE)


@pytest.mark.parametrize("role", [role for role in ROLES if role != "anonymous"])
def test_who_may(hub_web: Web, role: str) -> None:
    session, approval = make_session(status="completed"), make_approval()
    fields: dict[str, dict[str, Any]] = {
        "start_session": {"prompt": "hello"},
        "send_message": {"session": str(session.pk), "prompt": "hello"},
        "cancel_session": {"session": str(session.pk)},
        "decide": {"approval": str(approval.pk), "approved": True},
        "reopen": {"approval": str(make_approval(status="expired").pk)},
    }
    user = make_user(group="" if role == "nobody" else role.capitalize())
    with client(hub_web.port, token_for(user)) as mine:
        for name, allowed in TABLE.items():
            if name in fields:
                answer = mine.ask(name, **fields[name])
            else:
                answer = mine.ask("subscribe", topic=name.replace("<pk>", str(session.pk)))
            may = role in allowed.split() or (role == "asker" and "own" in allowed.split())
            assert (answer["type"] != "error") == may, (name, answer)
            assert may or answer["code"] == "forbidden"


def test_an_asker_sees_what_it_asked_itself(hub_web: Web) -> None:
    user = make_user("hook", group="Asker")
    mine, foreign = make_approval(requested_by="hook"), make_approval()
    with client(hub_web.port, token_for(user)) as hook:
        assert [item["id"] for item in hook.subscribe("approvals")["items"]] == [str(mine.pk)]
        Approval.objects.update(status="rejected", decided_at=timezone.now())
        told = hook.event("approval.changed")
        assert (told["payload"]["id"], told["seq"]) == (str(mine.pk), 1)
        assert str(foreign.pk) not in json.dumps(hook.silence(1))


def test_nobody_decides_what_they_requested_and_gives_no_tools_away(hub_web: Web) -> None:
    approval = make_approval(requested_by="bea")
    with client(hub_web.port, token_for(make_user("bea", group="Approver"))) as bea:
        assert bea.ask("decide", approval=str(approval.pk), approved=True)["code"] == "self_approval"
    with client(hub_web.port, token_for(make_user("oscar", group="Operator"))) as oscar:
        assert oscar.ask("start_session", prompt="x", allowed_tools=["Bash"])["code"] == "self_approval"
        assert oscar.ask("start_session", prompt="x", setting_sources=["user"])["code"] == "settings_not_allowed"
    assert not AgentSession.objects.exists()


# --- being shown out


def sign_out(user: User, browser: Browser) -> None:
    browser.post("/sign-out")


def lose_the_account(user: User, browser: Browser) -> None:
    user.is_active = False
    user.save()


def lose_the_group(user: User, browser: Browser) -> None:
    user.groups.clear()


def lose_the_permission(user: User, browser: Browser) -> None:
    Group.objects.get(name="Viewer").permissions.clear()


def see_the_group_deleted(user: User, browser: Browser) -> None:
    Group.objects.get(name="Viewer").delete()


def take_a_new_password(user: User, browser: Browser) -> None:
    user.set_password("a longer one than before")
    user.save()


def sign_out_everywhere(user: User, browser: Browser) -> None:
    end_everywhere(user)


def be_deleted(user: User, browser: Browser) -> None:
    user.delete()


def be_renamed(user: User, _browser: Browser) -> None:
    user.username = "verena"
    user.save()


ENDINGS = (
    sign_out, lose_the_account, lose_the_group, lose_the_permission, see_the_group_deleted, take_a_new_password,
    sign_out_everywhere, be_deleted, be_renamed,
)  # fmt: skip


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_page_ends_with_what_it_was_opened_with(hub_web: Web, ada: Client, ending: Any) -> None:
    vera = make_user("vera", group="Viewer")
    browser = browser_of(vera)
    with page(hub_web, browser) as hers:
        hers.subscribe("approvals")
        ending(vera, browser)
        assert hers.closed() == 4401
    assert ada.ask("ping")["type"] == "pong", "nobody else is shown out"


def test_an_own_permission_that_is_taken_away_ends_what_it_opened(hub_web: Web) -> None:
    vera = make_user("vera")
    vera.user_permissions.set(permissions_of(Right.READ))
    with client(hub_web.port, token_for(vera)) as hers:
        hers.subscribe("approvals")
        vera.user_permissions.clear()
        assert hers.closed() == 4401


def test_who_may_only_see_their_own_requests_from_now_on_is_shown_no_others(hub_web: Web) -> None:
    vera = make_user("vera", group="Viewer")
    vera.groups.add(Group.objects.get(name="Asker"))
    with client(hub_web.port, token_for(vera)) as hers:
        hers.subscribe("approvals")
        Group.objects.get(name="Viewer").permissions.clear()
        assert hers.closed() == 4401


def test_permissions_count_for_the_next_message_of_an_open_socket(hub_web: Web) -> None:
    approvers = Group.objects.get(name="Approver")
    with client(hub_web.port, token_for(make_user("bea", group="Approver"))) as bea:
        bea.subscribe("approvals")
        approvers.permissions.remove(*permissions_of(Right.DECIDE))
        approval = make_approval()
        assert bea.ask("decide", approval=str(approval.pk), approved=True)["code"] == "forbidden"
        approvers.permissions.add(*permissions_of(Right.DECIDE))
        assert bea.ask("decide", approval=str(approval.pk), approved=True)["type"] == "accepted"


@pytest.mark.parametrize("ending", ["deleted", "expired", "unannounced"])
def test_a_socket_ends_with_its_token(hub_web: Web, ending: str) -> None:
    user = make_user(group="Viewer")
    with client(hub_web.port, token_for(user)) as mine:
        mine.subscribe("sessions")
        tokens = AuthToken.objects.filter(user=user)
        if ending == "deleted":
            tokens.delete()
        elif ending == "expired":
            tokens.update(expiry=timezone.now())
        else:
            User.objects.filter(pk=user.pk).update(is_active=False)
        assert mine.closed() == 4401


def test_rights_are_those_of_the_moment(hub_web: Web) -> None:
    user = make_user("bea", group="Approver")
    approvals = [make_approval(), make_approval()]
    with client(hub_web.port, token_for(user)) as bea:
        assert bea.ask("decide", approval=str(approvals[0].pk), approved=True)["type"] == "accepted"
        User.groups.through.objects.all().delete()
        assert bea.ask("decide", approval=str(approvals[1].pk), approved=True)["code"] == "forbidden"
    assert sorted(Approval.objects.values_list("status", flat=True)) == ["approved", "pending"]


# --- too much


def test_too_long_a_message_ends_the_socket(hub_web: Web) -> None:
    with client(hub_web.port) as mine:
        mine.say("authenticate", token="x" * LARGEST_MESSAGE_BEFORE_SIGN_IN)
        assert mine.closed() == 1009
    with client(hub_web.port, hub_web.token) as mine:
        fits = LARGEST_MESSAGE - 100
        assert mine.ask("start_session", prompt="x" * fits, agent="demo")["type"] == "accepted"
        mine.say("start_session", prompt="x" * LARGEST_MESSAGE, agent="demo")
        assert mine.closed() == 1009
    assert AgentSession.objects.count() == 1


def test_a_flood_ends_the_socket_and_nobody_elses(hub_web: Web, ada: Client) -> None:
    with client(hub_web.port, hub_web.token) as mine:

        def flood() -> None:
            try:
                for _ in range(3000):
                    mine.say("ping")
            except Exception as error:  # closed under its hands
                assert "4429" in str(error) or "closed" in str(error).lower(), error

        flooding = threading.Thread(target=flood)
        flooding.start()
        assert mine.closed() == 4429
        flooding.join()
    assert ada.ask("ping")["type"] == "pong"


def test_many_long_messages_are_a_flood_too(hub_web: Web, ada: Client) -> None:
    with client(hub_web.port, hub_web.token) as mine:
        with contextlib.suppress(ConnectionClosed):
            for _ in range(10):
                mine.socket.send("x" * LARGEST_MESSAGE)
        assert mine.closed() == 4429
    assert ada.ask("ping")["type"] == "pong"


def raw_frame(opcode: int, payload: bytes = b"") -> bytes:
    """A whole masked frame whose mask is zero."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else bytes([0x80 | 126]) + size.to_bytes(2, "big")
    return bytes([0x80 | opcode]) + length + bytes(4) + payload


@pytest.mark.parametrize("frame", [raw_frame(9), raw_frame(10, b"x")], ids=["ping", "pong"])
def test_a_flood_of_control_frames_is_cut_off(hub_web: Web, ada: Client, frame: bytes) -> None:
    with client(hub_web.port, hub_web.token) as mine:
        with contextlib.suppress(OSError):
            mine.socket.socket.sendall(frame * (FRAME_BURST * 3))
        assert mine.closed() == 1006
    assert ada.ask("ping")["type"] == "pong"


def test_strangers_who_send_faster_than_they_are_answered_fill_no_memory(hub_web: Web, ada: Client) -> None:
    process = psutil.Process(hub_web.process.pid)
    before = process.memory_info().rss
    flood = raw_frame(1, b"x" * (LARGEST_MESSAGE_BEFORE_SIGN_IN - 100)) * (FRAME_BURST // 4)

    def send() -> None:
        with client(hub_web.port) as mine, contextlib.suppress(OSError):
            mine.socket.socket.sendall(flood)

    strangers = [threading.Thread(target=send) for _ in range(20)]
    peak = before
    for stranger in strangers:
        stranger.start()
    while any(stranger.is_alive() for stranger in strangers):
        peak = max(peak, process.memory_info().rss)
        time.sleep(0.02)
    assert peak - before < 40 * 2**20
    assert ada.ask("ping")["type"] == "pong"


def test_an_account_with_many_sockets_gets_no_more_until_it_closes_one(transactional_db: None, tmp_path: Path) -> None:
    with running(tmp_path, HUB_SOCKETS_PER_ACCOUNT="2") as web, client(web.port, web.token):
        with client(web.port, web.token):
            with client(web.port) as third:
                third.say("authenticate", token=web.token)
                assert third.closed() == 4429
            with client(web.port, token_for(make_user("vera", group="Viewer"))) as vera:
                assert vera.ask("ping")["type"] == "pong"
        until(lambda: signs_in(web))


def signs_in(web: Web) -> bool:
    with client(web.port) as mine:
        mine.say("authenticate", token=web.token)
        with contextlib.suppress(ConnectionClosed):
            return "rights" in mine._next(PATIENCE_S)
    return False


def test_a_thousand_subscriptions_are_too_many(hub_web: Web) -> None:
    sessions = AgentSession.objects.bulk_create(
        AgentSession(title=str(number), working_directory="/tmp") for number in range(MOST_SUBSCRIPTIONS + 1)
    )
    with client(hub_web.port, hub_web.token) as mine:
        for session in sessions[:-1]:
            mine.subscribe(f"session:{session.pk}")
        for _ in range(1000 // 10):
            assert mine.ask("subscribe", topic=f"session:{sessions[-1].pk}")["code"] == "too_many_subscriptions"
        mine.subscribe(f"session:{sessions[0].pk}")  # again is not more
        mine.ask("unsubscribe", topic=f"session:{sessions[0].pk}")
        mine.subscribe(f"session:{sessions[-1].pk}")


def test_no_secret_is_logged(hub_web: Web, ada: Client) -> None:
    ada.ask("ping")
    hub_web.log.flush()
    text = Path(hub_web.path_of_log).read_text()
    assert not re.search(r"[0-9a-f]{64}", text)
    assert hub_web.token not in text
