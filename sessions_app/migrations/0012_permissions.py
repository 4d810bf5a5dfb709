from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("sessions_app", "0011_turn_reopened")]
    operations = [
        migrations.AlterModelOptions(
            name="agentsession",
            options={
                "ordering": ["-created_at"],
                "permissions": [("operate_agentsession", "Can start sessions, send messages, cancel")],
            },
        ),
    ]
