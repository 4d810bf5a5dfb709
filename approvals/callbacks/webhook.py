"""Signed POST requests to an address that an API client gave, without redirects or proxies.

The caller has checked the address with ``approvals.callbacks.addresses``. This module is imported
only where a callback is posted, because importing requests costs a process a tenth of a second and
10 MB.
"""

import ipaddress
import ssl
import time
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from approvals.callbacks.signature import signature
from approvals.errors import CallbackNotAccepted

CONNECT_S, READ_S = 5.0, 10.0


def post(url: str, body: bytes, *, message_id: str, key: bytes) -> None:
    """Post ``body`` (JSON). Of the response only the status is read.

    Raises:
        CallbackNotAccepted: no response in time, or a status other than 2xx, redirects included.
    """
    timestamp = str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Orchestra",
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": signature(key, message_id, timestamp, body),
    }
    with requests.Session() as session:
        session.trust_env = False  # no proxy and no .netrc of this account
        session.mount("https://", _Adapter())
        session.mount("http://", _Adapter())
        try:
            with session.post(
                url, data=body, headers=headers, timeout=(CONNECT_S, READ_S), allow_redirects=False, stream=True
            ) as response:
                status = response.status_code
        except (requests.RequestException, HTTPError, ForbiddenAddress) as error:
            raise CallbackNotAccepted(type(error).__name__) from error
    if not 200 <= status < 300:
        raise CallbackNotAccepted(f"HTTP {status}", gone=status == 410)


class ForbiddenAddress(Exception):
    """The host name resolved to an address that callbacks may not go to."""


def _check_peer(sock: Any, host: str) -> Any:
    """Close a connection to an address that the operator cannot have meant, before anything is
    sent.

    The check is on the connected socket, so that a name that resolves differently a second time
    (DNS rebinding) cannot evade it. Private networks are allowed, since the operator named the
    host. Loopback is allowed only if the operator named it, and link-local (cloud metadata) never.
    """
    address = ipaddress.ip_address(sock.getpeername()[0].partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    loopback_named = host == "localhost" or host.strip("[]") == str(address)
    if address.is_link_local or address.is_multicast or address.is_unspecified or (
        address.is_loopback and not loopback_named
    ):  # fmt: skip
        sock.close()
        raise ForbiddenAddress(f"{host} resolves to {address}")
    return sock


class _Connection(HTTPConnection):
    def _new_conn(self) -> Any:
        return _check_peer(super()._new_conn(), self.host)


class _TlsConnection(HTTPSConnection):
    def _new_conn(self) -> Any:
        return _check_peer(super()._new_conn(), self.host)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _Adapter(HTTPAdapter):
    """The adapter of requests, with a check of every connection and the system's certificates
    beside its own.
    """

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=ssl.create_default_context(), **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
