"""The five groups whose rights `orchestra.auth.permissions` knows."""

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

GROUPS = ("Viewer", "Operator", "Approver", "Asker", "Administrator")


def make_groups(apps: Apps, _editor: BaseDatabaseSchemaEditor) -> None:
    group = apps.get_model("auth", "Group")
    group.objects.bulk_create([group(name=name) for name in GROUPS], ignore_conflicts=True)


class Migration(migrations.Migration):
    dependencies = [("orchestra", "0001_initial"), ("auth", "0012_alter_user_first_name_max_length")]
    # Backwards nothing: people may be in the groups.
    operations = [migrations.RunPython(make_groups, migrations.RunPython.noop)]
