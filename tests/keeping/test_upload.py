"""A backup on S3 is the backup; its manifest arrives last."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestra.backup.errors import BackupRefused
from orchestra.backup.s3 import upload
from tests.fakes.fake_s3 import FakeS3, fake_s3

LARGE = 9 * 1024 * 1024  # boto3 sends more than 8 MiB in parts


@pytest.fixture
def s3(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeS3]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "canary-of-a-credential")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("NO_PROXY", "*")
    with fake_s3() as store:
        settings.KEEPING = replace(settings.KEEPING, backup_s3_endpoint=store.url)
        yield store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "orchestra-1"
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")
    (folder / "database.pgdump").write_bytes(bytes(range(256)) * (LARGE // 256))
    return folder


def test_every_file_arrives_and_the_manifest_last(s3: FakeS3, folder: Path) -> None:
    assert upload(folder, "s3://house/nightly/") == "s3://house/nightly/orchestra-1"
    assert list(s3.objects) == [f"/house/nightly/orchestra-1/{name}" for name in ("database.pgdump", "manifest.json")]
    assert s3.objects["/house/nightly/orchestra-1/database.pgdump"] == (folder / "database.pgdump").read_bytes()


def test_a_refusal_says_why_and_gives_nothing_away(s3: FakeS3, folder: Path) -> None:
    s3.refuse = True
    with pytest.raises(BackupRefused, match="AccessDenied") as refused:
        upload(folder, "s3://house")
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize("url", ["https://house/x", "s3:///x", "house"])
def test_an_address_that_is_none_is_refused(folder: Path, url: str) -> None:
    with pytest.raises(BackupRefused, match="s3://BUCKET/PREFIX"):
        upload(folder, url)
