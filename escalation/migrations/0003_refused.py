"""An index for requests that Telegram refused: they are tried again, slowly."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [
        ("escalation", "0002_rejections"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(condition=Q(("status", "failed")), fields=["next_try_at"], name="deliveries_refused"),
        ),
    ]
