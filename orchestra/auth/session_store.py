"""Django's session engine over a table that knows whose browser it is (settings.SESSION_ENGINE).

The key is in the browser's cookie and nowhere else. The table, and so every backup, holds its SHA-256: who reads a
row cannot sign in with it.
"""

import hashlib
from typing import Any

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.utils import timezone

from orchestra.models import BrowserSession


def hashed(session_key: str) -> str:
    """What the table holds for a key. The key has 165 random bits, so a salt or a slow hash would add nothing."""
    return hashlib.sha256(session_key.encode(errors="surrogatepass")).hexdigest()


class SessionStore(DatabaseStore):
    """Sessions in ``browser_sessions``, found by the hash of their key.

    The methods of Django's store that name the column are repeated here; all others call these. The asynchronous ones
    are those of the base class, which call the synchronous ones.
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
