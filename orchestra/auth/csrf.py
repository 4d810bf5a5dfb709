"""Why the CSRF check refused a browser's form, and what helps, in words for the reader of the page.

Most refusals are old forms. Two causes do not go away when the page is loaded again: a browser that
keeps no cookies, and a proxy that hides the address under which the browser sees Orchestra.
"""

import re
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest

HEADER = "X-Refused-Because"
"""Carries the sentence to the console's script, which sends the forms and does not show the page of
the refusal.
"""

OLD = "The form was too old. Load the page again, and repeat what you did."
NO_COOKIE = (
    "The browser sent no CSRF cookie with this form, so Orchestra cannot know that you sent it. Allow cookies for "
    "{host}, load the page again, and repeat it. Programs need none: they send `Authorization: Token <key>`."
)
PLAIN_HTTP = (
    "Orchestra's cookies travel over TLS only (ORCHESTRA_PUBLIC_URL begins with https:), and this came by plain HTTP. "
    "Open {public}. If you did, its proxy does not say so: have it send X-Forwarded-Proto: https."
)
HIDDEN = (
    "The browser does not say which page this form comes from (Origin: null). Open {host} in a tab of its own, "
    "without an add-on that hides the origin."
)
FOREIGN = (
    "This form comes from a page of {origin}, and Orchestra knows itself as {own}. If you do not know {origin}, a "
    "foreign page tried to act in your name, and nothing was done. If it is your address of Orchestra, the proxy there "
    "hides it: have the proxy pass Host and X-Forwarded-Proto on, or {cure} and start Orchestra again."
)
UNREADABLE = "This form comes from a page whose address cannot be read, so nothing was done. Open {host} itself."
ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?", re.IGNORECASE)


def why_refused(request: HttpRequest, reason: str) -> str:
    """Return one or two sentences in ASCII, safe to paste into a shell or a header.

    ``reason`` is the text that Django passes to ``CSRF_FAILURE_VIEW``.
    """
    if reason.startswith("Origin checking failed"):
        return _of_origin(request, request.headers.get("Origin", ""))
    if reason.startswith("Referer checking failed"):
        return _of_origin(request, _origin_of(request.headers.get("Referer", "")))
    if "cookie" not in reason:
        return OLD
    if settings.CSRF_COOKIE_SECURE and not request.is_secure():
        return PLAIN_HTTP.format(
            public=_origin_of(settings.ORCHESTRA.public_url) or "the address that begins with https:"
        )
    return NO_COOKIE.format(host=_own(request))


def _of_origin(request: HttpRequest, origin: str) -> str:
    if origin == "null":
        return HIDDEN.format(host=_own(request))
    if not ORIGIN.fullmatch(origin):
        return UNREADABLE.format(host=_own(request))
    return FOREIGN.format(origin=origin, own=_own(request), cure=_cure(origin))


def _cure(origin: str) -> str:
    """Return the whole setting to write, with the values that it holds already."""
    return f"set ORCHESTRA_TRUSTED_ORIGINS={','.join([*settings.CSRF_TRUSTED_ORIGINS, origin])}"


def _own(request: HttpRequest) -> str:
    return f"{request.scheme}://{request.get_host()}"


def _origin_of(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""
