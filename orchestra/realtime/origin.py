"""Which web pages may open a socket: ours, and those the operator trusts."""

from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import validate_host
from django.utils.http import is_same_domain

DEFAULT_PORTS = {"http": 80, "https": 443}


def allowed(origin: str, host: str) -> bool:
    """Whether a page of ``origin`` may connect to ``host`` (both as the browser's headers say).

    A cookie is sent whichever page opens the socket, so this is what CSRF tokens are elsewhere. Same name and port as
    the address it connected to, which must be one of ours; or one of ``ORCHESTRA_TRUSTED_ORIGINS``.
    """
    try:
        page = urlsplit(origin)
        asked = urlsplit(f"{page.scheme}://{host}")
        same = (page.hostname, _port(page.scheme, page.port)) == (asked.hostname, _port(page.scheme, asked.port))
    except ValueError:
        return False
    if page.scheme not in DEFAULT_PORTS or not page.hostname:
        return False
    if same and validate_host(_bracketed(page.hostname), settings.ALLOWED_HOSTS):
        return True
    return any(_trusted(page.scheme, page.netloc, trusted) for trusted in settings.CSRF_TRUSTED_ORIGINS)


def _port(scheme: str, port: int | None) -> int | None:
    return port or DEFAULT_PORTS.get(scheme)


def _bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name else name


def _trusted(scheme: str, netloc: str, trusted: str) -> bool:
    """Django's own meaning of the setting: ``https://a.example``, ``https://*.example``."""
    known = urlsplit(trusted.replace("*", "", 1) if "*" in trusted else trusted)
    return scheme == known.scheme and is_same_domain(netloc, known.netloc)
