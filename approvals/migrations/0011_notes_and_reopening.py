from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("approvals", "0010_rule_made_for"),
    ]

    operations = [
        migrations.AddField(
            model_name="approval",
            name="note",
            field=models.TextField(
                blank=True,
                db_default="",
                help_text="Guidance given with an approval; the agent reads it with the result.",
            ),
        ),
        migrations.AddField(
            model_name="approval",
            name="note_delivered_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="approval",
            name="reopened_from",
            field=models.UUIDField(
                blank=True,
                help_text="The closed request that was asked again with this one.",
                null=True,
                unique=True,
            ),
        ),
        migrations.AddField(
            model_name="approval",
            name="reopened_as",
            field=models.UUIDField(blank=True, help_text="The request that asks this one again.", null=True),
        ),
    ]
