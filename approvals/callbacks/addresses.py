"""The addresses that callbacks may go to: those that the operator lists.

A narrow pattern must match the whole address, so that no other parser can read a different host in
it.
"""

import re
from collections.abc import Collection

from django.core.exceptions import ImproperlyConfigured

LONGEST_URL = 2000
ALLOWED_NOWHERE = "Callbacks to this host are not allowed (APPROVAL_CALLBACK_HOSTS)."
MALFORMED = f"A callback is http(s)://host[:port]/path, without user or fragment, of at most {LONGEST_URL} characters."
PORTS = {"http": 80, "https": 443}

_PLACE = r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
_ENTRY = re.compile(_PLACE + "/?")
_ADDRESS = re.compile(_PLACE + r"(?:[/?][A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]*)?")  # RFC 3986's characters

Place = tuple[str, str, int]
"""Scheme, host in lower case, port."""


def places(entries: Collection[str]) -> frozenset[Place]:
    """Parse APPROVAL_CALLBACK_HOSTS: ``host`` and ``host:port`` mean https, ``http://host:port``
    means plain http.

    Raises:
        ImproperlyConfigured: an entry has another form.
    """
    return frozenset(_place_of_entry(entry) for entry in entries)


def address_problem(url: str, allowed: Collection[Place]) -> str:
    """Return why callbacks to ``url`` are refused, as a sentence; an empty text if they are
    allowed.
    """
    found = _ADDRESS.fullmatch(url) if len(url) <= LONGEST_URL else None
    if found is None:
        return MALFORMED
    return "" if _place(found) in allowed else ALLOWED_NOWHERE


def _place_of_entry(entry: str) -> Place:
    found = _ENTRY.fullmatch(entry if "://" in entry else f"https://{entry}")
    if found is None:
        raise ImproperlyConfigured(f"APPROVAL_CALLBACK_HOSTS: {entry!r} is no host, host:port or http(s)://host:port.")
    return _place(found)


def _place(found: re.Match[str]) -> Place:
    scheme = found["scheme"]
    return scheme, found["host"].lower(), int(found["port"] or PORTS[scheme])
