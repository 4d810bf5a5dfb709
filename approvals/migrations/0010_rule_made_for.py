from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("approvals", "0007_violations"),
    ]

    operations = [
        migrations.AddField(
            model_name="rule",
            name="made_for",
            field=models.CharField(
                blank=True,
                db_default="",
                help_text="Whose requests a rule of a session lets pass; empty: those of who made it.",
                max_length=150,
            ),
        ),
    ]
