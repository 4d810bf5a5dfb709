"""In and out: passwords, guessing, going to where one wanted, and leaving everywhere."""

import re
from datetime import timedelta
from threading import Barrier, Thread
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import UpdateError
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from knox.models import AuthToken

from orchestra.auth import login_throttle, views
from orchestra.auth.sign_in_links import base_url, make_link
from orchestra.models import BrowserSession, SignInAttempt, SignInLink
from tests.factories import make_approval, make_user, token_for

PASSWORD = "correct horse battery"
NEXT = "another long password"


@pytest.fixture(autouse=True)
def _quick_hashes(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def anna(db: None) -> User:
    user = make_user("anna", group="Approver")
    user.set_password(PASSWORD)
    user.save()
    return user


def sign_in(client: Client, password: str = PASSWORD, **more: Any) -> Any:
    return client.post("/sign-in", {"username": "anna", "password": password, **more})


def signed_in(client: Client) -> bool:
    return client.get("/account").status_code == 200


def test_a_password_opens_what_was_wanted(client: Client, anna: User) -> None:
    asked = client.get("/account")
    assert asked["Location"] == "/sign-in?next=/account"
    page = client.get("/sign-in?next=/account")
    assert b"You'll continue where you left off" in page.content
    assert sign_in(client, next="/account")["Location"] == "/account"
    assert signed_in(client)


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "javascript:alert(1)",
        "http:///evil.example",
        "\t//evil",
    ],
)
def test_nobody_is_sent_elsewhere(client: Client, anna: User, elsewhere: str) -> None:
    assert sign_in(client, next=elsewhere)["Location"] == "/"
    admin = client.get("/admin/login/", {"next": elsewhere})
    assert admin["Location"].startswith("/sign-in?next=")


def test_a_foreign_host_gets_nothing(client: Client, anna: User) -> None:
    for path in ("/sign-in", "/", "/api/approvals", "/admin/"):
        assert client.get(path, headers={"host": "evil.example"}).status_code == 400


def test_name_and_password_share_one_complaint(client: Client, anna: User) -> None:
    make_user("gone", is_active=False)
    answers = {
        re.sub(rb'value="\w*"', b"", client.post("/sign-in", {"username": name, "password": "x"}).content)
        for name in ("anna", "nobody", "gone")
    }
    assert len(answers) == 1
    assert b"Name or password is wrong. 4 tries left" in answers.pop()


def test_after_five_failures_even_the_right_password_waits(client: Client, anna: User) -> None:
    for _ in range(5):
        assert sign_in(client, "wrong").status_code == 200
    refused = sign_in(client)
    assert refused.status_code == 429
    assert 0 < int(refused["Retry-After"]) <= 300
    assert b"Too many attempts" in refused.content
    assert not signed_in(client)
    assert SignInAttempt.objects.count() == 5, "those not looked at are not counted"
    SignInAttempt.objects.update(at=timezone.now() - login_throttle.WINDOW)
    assert sign_in(client).status_code == 302


def test_others_and_tokens_are_not_slowed_down(client: Client, anna: User) -> None:
    for _ in range(6):
        sign_in(client, "wrong")
    elsewhere = Client(REMOTE_ADDR="10.0.0.9")
    assert sign_in(elsewhere).status_code == 302
    approval = make_approval()
    decided = client.post(
        f"/api/approvals/{approval.pk}/approve",
        content_type="application/json",
        headers={"Authorization": f"Token {token_for(anna)}"},
    )
    assert decided.status_code == 200
    path = make_link(anna).removeprefix(base_url())
    assert client.post(path).status_code == 302


def test_an_address_that_tries_many_names_waits_too(client: Client, anna: User) -> None:
    SignInAttempt.objects.bulk_create(
        SignInAttempt(username=f"user{n}", address="127.0.0.1") for n in range(login_throttle.PER_PLACE)
    )
    assert sign_in(client).status_code == 429


@pytest.mark.django_db(transaction=True)
def test_guesses_at_the_same_moment_are_counted_one_by_one() -> None:
    user = make_user("anna")
    user.set_password(PASSWORD)
    user.save()
    together, codes = Barrier(12), []

    def guess() -> None:
        client = Client()
        together.wait()
        codes.append(sign_in(client, "wrong").status_code)
        connection.close()

    threads = [Thread(target=guess) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes.count(200) <= login_throttle.PER_PERSON_AND_PLACE
    assert codes.count(200) + codes.count(429) == 12


def test_an_old_cookie_is_worth_nothing_after_signing_out(client: Client, anna: User) -> None:
    sign_in(client)
    cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
    assert client.post("/sign-out")["Location"] == "/sign-in"
    thief = Client()
    thief.cookies[settings.SESSION_COOKIE_NAME] = cookie
    assert not signed_in(thief)
    assert thief.get("/api/approvals").status_code == 401


def test_signing_in_gives_a_new_session(client: Client, anna: User) -> None:
    client.get("/admin/login/")
    session = client.session
    session["planted"] = True
    session.save()
    planted = session.session_key
    client.cookies[settings.SESSION_COOKIE_NAME] = planted
    sign_in(client)
    assert client.cookies[settings.SESSION_COOKIE_NAME].value != planted


def test_signing_out_everywhere_ends_browsers_links_and_tokens_of_that_person_alone(anna: User) -> None:
    here, there, other = Client(), Client(), Client()
    sign_in(here)
    sign_in(there)
    other.force_login(make_user("otto", group="Viewer"))
    key = token_for(anna)
    make_link(anna)
    assert b"Ends 2 browser sessions" in here.get("/account").content
    assert here.post("/sign-out/everywhere")["Location"] == "/sign-in"
    assert (signed_in(here), signed_in(there), signed_in(other)) == (False, False, True)
    assert there.get("/api/approvals", headers={"Authorization": f"Token {key}"}).status_code == 401
    assert not AuthToken.objects.filter(user=anna).exists()
    assert not SignInLink.objects.filter(user=anna).exists()
    assert not BrowserSession.objects.filter(user=anna).exists()


def test_a_request_under_way_does_not_bring_an_ended_session_back(client: Client, anna: User) -> None:
    sign_in(client)
    under_way = client.session
    assert under_way.items(), "it was read before the others were ended"
    views.end_everywhere(anna)
    under_way["late"] = True
    with pytest.raises(UpdateError):
        under_way.save()
    assert not BrowserSession.objects.filter(user=anna).exists()


def test_changing_the_password_ends_the_others_and_keeps_this_one(client: Client, anna: User) -> None:
    sign_in(client)
    there = Client()
    sign_in(there)
    key = token_for(anna)
    done = client.post("/account", {"old_password": PASSWORD, "new_password1": NEXT, "new_password2": NEXT})
    assert done["Location"] == "/account"
    assert (signed_in(client), signed_in(there)) == (True, False)
    assert client.get("/api/approvals", headers={"Authorization": f"Token {key}"}).status_code == 200
    anna.refresh_from_db()
    assert anna.check_password(NEXT)


@pytest.mark.parametrize(
    ("form", "complaint"),
    [
        (
            {"old_password": "wrong", "new_password1": NEXT, "new_password2": NEXT},
            b"old password was entered incorrectly",
        ),
        ({"old_password": PASSWORD, "new_password1": NEXT, "new_password2": NEXT + "x"}, b"match"),
        ({"old_password": PASSWORD, "new_password1": "short", "new_password2": "short"}, b"too short"),
    ],
)
def test_a_bad_new_password_changes_nothing(client: Client, anna: User, form: dict[str, str], complaint: bytes) -> None:
    sign_in(client)
    answer = client.post("/account", form)
    assert (answer.status_code, complaint in answer.content) == (400, True)
    anna.refresh_from_db()
    assert anna.check_password(PASSWORD)


def test_the_old_password_cannot_be_guessed_at_the_account_page(client: Client, anna: User) -> None:
    sign_in(client)
    for _ in range(5):
        client.post("/account", {"old_password": "wrong", "new_password1": NEXT, "new_password2": NEXT})
    refused = client.post(
        "/account", {"old_password": PASSWORD, "new_password1": NEXT, "new_password2": NEXT}, follow=True
    )
    assert b"Too many attempts" in refused.content
    anna.refresh_from_db()
    assert anna.check_password(PASSWORD)


def test_a_first_password_is_set_right_after_signing_in_only(client: Client, db: None) -> None:
    user = make_user("vera", group="Viewer")
    client.force_login(user)
    assert b"Set a password" in client.get("/account").content
    session = client.session
    session[views.SIGNED_IN_AT] -= timedelta(minutes=11).total_seconds()
    session.save()
    assert b"sign in afresh" in client.get("/account").content
    client.post("/account", {"new_password1": NEXT, "new_password2": NEXT})
    user.refresh_from_db()
    assert not user.has_usable_password()


def test_signing_out_is_a_post_with_the_form_it_showed(anna: User) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(anna)
    for path in ("/sign-out", "/sign-out/everywhere"):
        assert strict.get(path).status_code == 405
        refused = strict.post(path)
        assert (refused.status_code, b"Nothing was done" in refused.content) == (403, True)
    assert signed_in(strict)


def test_the_admin_sends_people_through_the_same_gate(client: Client, anna: User) -> None:
    sign_in(client)
    assert client.get("/admin/")["Location"] == "/admin/login/?next=/admin/"
    told = client.get("/admin/", follow=True)
    assert b"may not open that page" in told.content
    assert client.get(reverse("admin:password_change"))["Location"].startswith("/admin/login/")
    client.force_login(make_user("boss", is_superuser=True, is_staff=True))
    assert client.get(reverse("admin:password_change"))["Location"] == "/account"
    assert client.post(reverse("admin:logout"))["Location"] == "/sign-in"
    assert not signed_in(client)


def test_an_administrator_signs_somebody_out(client: Client, anna: User) -> None:
    there = Client()
    sign_in(there)
    client.force_login(make_user("boss", is_superuser=True, is_staff=True))
    client.post(reverse("admin:auth_user_changelist"), {"action": "sign_out_selected", "_selected_action": [anna.pk]})
    assert not signed_in(there)


def test_old_sessions_and_attempts_are_cleared(client: Client, anna: User) -> None:
    sign_in(client)
    BrowserSession.objects.update(expire_date=timezone.now() - timedelta(days=1))
    SignInAttempt.objects.update(at=timezone.now() - login_throttle.KEPT - timedelta(minutes=1))
    sign_in(Client())
    assert (BrowserSession.objects.count(), SignInAttempt.objects.count()) == (1, 1)
    call_command("clearsessions")
    assert BrowserSession.objects.count() == 1
