"""Calls put off behind a parked one; a conversation of its own after ``/clear``."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("sessions_app", "0009_turn_attachments")]

    operations = [
        migrations.AddField(
            model_name="agentsession",
            name="conversation",
            field=models.UUIDField(
                blank=True,
                help_text="The CLI's id of the dialog since it was cleared; empty: the session's own.",
                null=True,
            ),
        ),
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
