from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("sessions_app", "0010_put_off_calls_and_conversations"),
    ]

    operations = [
        migrations.AddField(
            model_name="turn",
            name="reopened",
            field=models.UUIDField(
                blank=True,
                help_text="The request that was asked again and approved, which started this turn.",
                null=True,
                unique=True,
            ),
        ),
    ]
