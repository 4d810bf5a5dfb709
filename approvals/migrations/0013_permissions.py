from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("approvals", "0012_stops")]
    operations = [
        migrations.AlterModelOptions(
            name="approval",
            options={
                "ordering": ["-created_at"],
                "permissions": [
                    ("decide_approval", "Can answer approvals"),
                    ("request_approval", "Can send requests from programs and read its own"),
                ],
            },
        ),
    ]
