import uuid

import django.db.models.deletion
import django.db.models.functions.datetime
import django.db.models.lookups
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("approvals", "0011_notes_and_reopening"),
    ]

    operations = [
        migrations.CreateModel(
            name="Stop",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "started_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("started_by", models.CharField(max_length=150)),
                (
                    "started_via",
                    models.CharField(
                        choices=[
                            ("telegram", "Telegram"),
                            ("admin", "Admin"),
                            ("api", "Api"),
                            ("dashboard", "Dashboard"),
                            ("websocket", "Websocket"),
                            ("cli", "Cli"),
                            ("policy", "Policy"),
                            ("system", "System"),
                        ],
                        max_length=10,
                    ),
                ),
                ("reason", models.TextField(blank=True)),
                (
                    "mode",
                    models.CharField(
                        choices=[
                            ("hold", "running turns wait at their next tool call"),
                            ("interrupt", "running turns are interrupted"),
                        ],
                        default="hold",
                        max_length=9,
                    ),
                ),
                ("lifted_at", models.DateTimeField(blank=True, null=True)),
                ("lifted_by", models.CharField(blank=True, max_length=150)),
                (
                    "lifted_via",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("telegram", "Telegram"),
                            ("admin", "Admin"),
                            ("api", "Api"),
                            ("dashboard", "Dashboard"),
                            ("websocket", "Websocket"),
                            ("cli", "Cli"),
                            ("policy", "Policy"),
                            ("system", "System"),
                        ],
                        max_length=10,
                    ),
                ),
            ],
            options={
                "db_table": "stops",
                "ordering": ["-started_at"],
                "constraints": [
                    models.UniqueConstraint(
                        django.db.models.lookups.IsNull(models.F("lifted_at"), True),
                        condition=models.Q(("lifted_at__isnull", True)),
                        name="one_stop_in_force",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="StopSwitch",
            fields=[
                ("id", models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False)),
                (
                    "stop",
                    models.OneToOneField(
                        null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="approvals.stop"
                    ),
                ),
            ],
            options={
                "db_table": "stop_switch",
                "constraints": [models.CheckConstraint(condition=models.Q(("id", 1)), name="one_stop_switch")],
            },
        ),
    ]
