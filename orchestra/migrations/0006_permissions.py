"""Give the five groups the permissions by which rights are judged from now on, so that their
members keep what they had.
"""

from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

READ = ("approvals", "approval", "view_approval", "Can view approval")
DECIDE = ("approvals", "approval", "decide_approval", "Can answer approvals")
ASK = ("approvals", "approval", "request_approval", "Can send requests from programs and read its own")
OPERATE = ("sessions_app", "agentsession", "operate_agentsession", "Can start sessions, send messages, cancel")
ADMINISTER = ("orchestra", "installation", "administer_installation", "Can do everything, and use the admin site")

GROUPS = {
    "Viewer": (READ,),
    "Operator": (READ, OPERATE),
    "Approver": (READ, DECIDE),
    "Asker": (ASK,),
    "Administrator": (READ, OPERATE, DECIDE, ASK, ADMINISTER),
}


def take_reading(apps: Apps, _editor: BaseDatabaseSchemaEditor) -> None:
    """Take ``view_approval`` from accounts and groups. Django made that permission long ago, and until now it
    allowed nothing here: who held it would gain the right to read.
    """
    app_label, model, codename, _ = READ
    found = apps.get_model("auth", "Permission").objects.filter(
        content_type__app_label=app_label, content_type__model=model, codename=codename
    )
    for permission in found:
        permission.group_set.clear()
        permission.user_set.clear()


def fill_groups(apps: Apps, _editor: BaseDatabaseSchemaEditor) -> None:
    """Add the permissions to those of the groups that exist; their other permissions stay.

    Django makes permissions after all migrations have run, and takes over those that exist by then.
    """
    kinds = apps.get_model("contenttypes", "ContentType").objects
    permissions = apps.get_model("auth", "Permission").objects
    for group in apps.get_model("auth", "Group").objects.filter(name__in=GROUPS):
        for app_label, model, codename, name in GROUPS[group.name]:
            kind, _ = kinds.get_or_create(app_label=app_label, model=model)
            made = permissions.get_or_create(content_type_id=kind.pk, codename=codename, defaults={"name": name})
            group.permissions.add(made[0])


class Migration(migrations.Migration):
    dependencies = [
        ("orchestra", "0005_browser_sessions_hashed"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]
    operations = [
        migrations.CreateModel(
            name="Installation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"))
            ],
            options={
                "managed": False,
                "default_permissions": (),
                "permissions": [(ADMINISTER[2], ADMINISTER[3])],
            },
        ),
        # Backwards nothing: the code of before does not look at permissions.
        migrations.RunPython(take_reading, migrations.RunPython.noop),
        migrations.RunPython(fill_groups, migrations.RunPython.noop),
    ]
