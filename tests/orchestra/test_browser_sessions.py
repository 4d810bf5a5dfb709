"""The table of browser sessions is of no use to a thief."""

from importlib import import_module

import pytest
from asgiref.sync import async_to_sync
from django.apps import apps
from django.conf import settings
from django.db import connection
from django.test import Client

from orchestra.auth.session_store import SessionStore, hashed
from orchestra.models import BrowserSession
from tests.factories import make_user

pytestmark = pytest.mark.django_db
COOKIE = settings.SESSION_COOKIE_NAME


def signed_in_with(cookie: str) -> bool:
    browser = Client()
    browser.cookies[COOKIE] = cookie
    return browser.get("/account").status_code == 200


def everything_stored() -> set[str]:
    """Every text in every table."""
    found: set[str] = set()
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            found |= {str(value) for row in cursor.fetchall() for value in row if isinstance(value, str)}
    return found


def test_no_value_in_the_database_is_good_as_a_cookie(client: Client) -> None:
    client.force_login(make_user("anna"))
    cookie = client.cookies[COOKIE].value
    assert signed_in_with(cookie)
    stored = everything_stored()
    assert hashed(cookie) in stored
    assert not [text for text in stored if cookie in text]
    assert not signed_in_with(BrowserSession.objects.get().session_key)


def test_a_session_is_found_changed_and_ended_by_its_key(client: Client) -> None:
    store = SessionStore()
    store["colour"] = "red"
    store.create()
    key = store.session_key
    assert key and SessionStore(key)["colour"] == "red" and store.exists(key)
    store.cycle_key()
    assert store.session_key and store.session_key != key
    assert not store.exists(key) and SessionStore(store.session_key)["colour"] == "red"
    store.delete()
    assert not BrowserSession.objects.exists()


def test_the_asynchronous_methods_look_for_the_same_rows() -> None:
    async def live() -> None:
        store = SessionStore()
        await store.aset("colour", "red")
        await store.asave()
        key = store.session_key
        assert key and await SessionStore(key).aget("colour") == "red" and await store.aexists(key)
        await store.adelete(key)
        assert not await store.aexists(key)

    async_to_sync(live)()


@pytest.mark.parametrize("cookie", ["", "x", "\0" * 32, "k" * 5000, "\ud800" * 32, "é" * 40])
def test_an_odd_cookie_is_no_session(cookie: str) -> None:
    assert not SessionStore(cookie).load()


def test_who_was_signed_in_before_the_keys_were_hashed_still_is(client: Client) -> None:
    client.force_login(make_user("anna"))
    cookie = client.cookies[COOKIE].value
    BrowserSession.objects.update(session_key=cookie)  # as it was kept before
    migration = import_module("orchestra.migrations.0005_browser_sessions_hashed")
    migration.hash_keys(apps, connection.schema_editor())
    assert signed_in_with(cookie)
    migration.hash_keys(apps, connection.schema_editor())
    assert signed_in_with(cookie)
