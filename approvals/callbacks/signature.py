"""Signatures of callbacks, after Standard Webhooks 1.0 (standardwebhooks.com).

Headers ``webhook-id``, ``webhook-timestamp`` (seconds since the epoch) and ``webhook-signature``:
``v1,`` and the Base64 of HMAC-SHA256 over ``id.timestamp.body``. The secret is ``whsec_`` and the
Base64 of 24 to 64 bytes.
"""

import base64
import binascii
import hashlib
import hmac

SECRET_PREFIX = "whsec_"  # noqa: S105 - a prefix, not a secret


def secret_key(secret: str) -> bytes:
    """Return the key of a ``whsec_…`` secret.

    Raises:
        ValueError: the secret has another form.
    """
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not (secret.startswith(SECRET_PREFIX) and 24 <= len(key) <= 64):
        raise ValueError("a webhook secret is whsec_ and the Base64 of 24 to 64 bytes")
    return key


def signature(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    """Return the value of the header ``webhook-signature``."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
