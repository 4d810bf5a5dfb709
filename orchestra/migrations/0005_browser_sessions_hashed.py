"""Browser sessions keep the hash of their key; who is signed in stays signed in."""

import hashlib
from typing import Any

from django.db import migrations, models

KEY_LENGTH = 64  # of a SHA-256 in hexadecimal; Django's own keys have 32 characters


def hash_keys(apps: Any, schema_editor: Any) -> None:
    sessions = apps.get_model("orchestra", "BrowserSession").objects.using(schema_editor.connection.alias)
    for key in list(sessions.values_list("session_key", flat=True)):
        if len(key) < KEY_LENGTH:
            sessions.filter(session_key=key).update(session_key=hashlib.sha256(key.encode()).hexdigest())


def sign_out(apps: Any, schema_editor: Any) -> None:
    """A hash does not lead back to its key."""
    apps.get_model("orchestra", "BrowserSession").objects.using(schema_editor.connection.alias).all().delete()


class Migration(migrations.Migration):
    dependencies = [("orchestra", "0004_archives")]

    operations = [
        migrations.AlterField(
            model_name="browsersession",
            name="session_key",
            field=models.CharField(max_length=KEY_LENGTH, primary_key=True, serialize=False),
        ),
        migrations.RunPython(hash_keys, sign_out),
    ]
