"""A call that was asked while one before it in the same message was parked."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("sessions_app", "0009_turn_attachments")]

    operations = [
        migrations.AddField(
            model_name="permissionrequest",
            name="put_off",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="A call before it in the same message was parked; "
                "the agent makes this one again, under another id.",
            ),
        ),
    ]
