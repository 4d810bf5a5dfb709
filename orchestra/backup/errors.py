from orchestra.errors import Conflict


class BackupRefused(Conflict):
    """A backup, its verification or a restore was refused. Nothing was changed."""

    code = "backup_refused"
