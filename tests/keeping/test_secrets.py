"""What leaves the database or the machine carries no key to it."""

import gzip
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import User

from orchestra.archive.commands import archive
from orchestra.auth import sign_in_links
from tests.factories import make_user, token_for
from tests.keeping.test_archive import AGE, closed_approval, closed_session
from tests.keeping.test_backup import backup_of


def opened(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


def test_neither_backups_nor_archives_hold_a_token_a_link_a_password_or_our_own_key(house: Path) -> None:
    user: User = make_user("ada", group="Administrator")
    user.set_password("open-sesame-canary")
    user.save()
    keys = {
        "the secret key": settings.SECRET_KEY,
        "an API token": token_for(user),
        "a sign-in link": sign_in_links.make_link(user).rpartition("/")[2],
        "a password": "open-sesame-canary",
    }
    closed_session()
    title = closed_approval(title="a title that is kept").title
    backup_of(house)
    assert archive(AGE).archived == {"sessions": 1, "approvals": 1}
    files = [path for path in house.rglob("*") if path.is_file() and path.parts[-2] != "logs"]
    archived = [path for path in files if path.name.endswith(".jsonl.gz")]
    assert any(title.encode() in opened(path) for path in archived)  # what is looked into is what was written
    assert any(path.name == "manifest.json" for path in files)
    found = [f"{what} in {path.name}" for path in files for what, key in keys.items() if key.encode() in opened(path)]
    assert found == []
