"""Copies of backups on S3, or what speaks its language. Needs the optional packages of ``requirements-s3.txt``."""

from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings

from orchestra.backup.errors import BackupRefused
from orchestra.backup.manifest import NAME
from orchestra.logs.redaction import scrub


def upload(folder: Path, url: str) -> str:
    """Copy a backup below ``s3://BUCKET/PREFIX`` and return where; the manifest comes last, so it marks a whole copy.

    Credentials come from where AWS's own tools look for them. The far side checks each part's SHA-256.

    Raises:
        BackupRefused: the packages are missing, the address is none, or the far side did not take it.
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
                raise BackupRefused(f"{path.name} did not arrive whole.")
    except (Boto3Error, BotoCoreError, ClientError) as error:
        raise BackupRefused(f"The upload failed: {scrub(str(error))[:300]}") from None
    return f"s3://{parts.netloc}/{prefix}"
