"""Why a backup, its check or a restore was refused."""

from orchestra.errors import Conflict


class BackupRefused(Conflict):
    """Nothing was changed; the sentence says what is wrong and, where there is one, the way out."""

    code = "backup_refused"
