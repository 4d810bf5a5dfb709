"""Uploads of backups to S3 or a compatible store. They need the packages of
``requirements-s3.txt``.
"""

from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings

from orchestra.backup.errors import BackupRefused
from orchestra.backup.manifest import NAME
from orchestra.logs.redaction import scrub


def upload(folder: Path, url: str) -> str:
    """Copy a backup below ``s3://BUCKET/PREFIX`` and return its address there.

    The manifest is uploaded last, so its presence marks a complete copy. boto3 finds the
    credentials in the places that AWS's own tools use. The store checks the SHA-256 of each part.

    Raises:
        BackupRefused: boto3 is not installed, the address is invalid, or the store refused the
            upload.
    """
    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.netloc:
        raise BackupRefused("The address of an upload is s3://BUCKET/PREFIX.")
    try:
        import boto3
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        raise BackupRefused("Uploading needs boto3; requirements-s3.in says how to install it.") from None
    client = boto3.client("s3", endpoint_url=settings.KEEPING.backup_s3_endpoint or None)
    prefix = "/".join(part for part in (parts.path.strip("/"), folder.name) if part)
    try:
        for path in sorted(folder.iterdir(), key=lambda path: path.name == NAME):
            key = f"{prefix}/{path.name}"
            client.upload_file(str(path), parts.netloc, key, ExtraArgs={"ChecksumAlgorithm": "SHA256"})
            if client.head_object(Bucket=parts.netloc, Key=key)["ContentLength"] != path.stat().st_size:
                raise BackupRefused(f"{path.name} was not stored completely.")
    except (Boto3Error, BotoCoreError, ClientError) as error:
        raise BackupRefused(f"The upload failed: {scrub(str(error))[:300]}") from None
    return f"s3://{parts.netloc}/{prefix}"
