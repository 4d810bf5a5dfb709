"""Django's session engine over a table with a column for the account (``settings.SESSION_ENGINE``).

Only the browser's cookie holds the key. The table, and so every backup, holds its SHA-256, with
which a reader of the table cannot sign in.
"""

import hashlib
from typing import Any

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.utils import timezone

from orchestra.models import BrowserSession


def hashed(session_key: str) -> str:
    """Return the hash of a key, as the table holds it.

    The key has 165 random bits, so a salt or a slow hash would add nothing.
    """
    return hashlib.sha256(session_key.encode(errors="surrogatepass")).hexdigest()


class SessionStore(DatabaseStore):
    """Sessions in ``browser_sessions``, found by the hash of their key.

    This class repeats the methods of Django's store that name the column; all others call these.
    The asynchronous methods are those of the base class, because they call the synchronous ones.
    """

    @classmethod
    def get_model_class(cls) -> Any:
        return BrowserSession

    def _get_session_from_db(self) -> Any:
        key = self.session_key or ""
        row = BrowserSession.objects.filter(session_key=hashed(key), expire_date__gt=timezone.now()).first()
        if row is None:
            self._session_key = None
        return row

    def exists(self, session_key: str) -> bool:
        return BrowserSession.objects.filter(session_key=hashed(session_key)).exists()

    def create_model_instance(self, data: dict[str, Any]) -> Any:
        row: Any = super().create_model_instance(data)
        row.session_key = hashed(row.session_key)
        row.user_id = int(data[SESSION_KEY]) if SESSION_KEY in data else None
        return row

    def delete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key and (row := BrowserSession.objects.filter(session_key=hashed(key)).first()):
            row.delete()

    aload = SessionBase.aload
    aexists = SessionBase.aexists
    acreate = SessionBase.acreate
    asave = SessionBase.asave
    adelete = SessionBase.adelete
