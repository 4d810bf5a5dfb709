"""Create the secret files that docker-compose.yml names; existing files are kept. Standard library
only.
"""

import os
import secrets
import sys

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "deploy", "secrets")


def main():
    os.makedirs(FOLDER, mode=0o700, exist_ok=True)
    password = _kept("postgres_password", secrets.token_urlsafe(24))
    _kept("database_url", "postgres://orchestra:{}@postgres:5432/orchestra".format(password))
    _kept("secret_key", secrets.token_urlsafe(50))
    _kept("metrics_token", secrets.token_urlsafe(24))
    _kept("grafana_password", secrets.token_urlsafe(16))
    _kept("telegram_bot_token", "")
    print("deploy/secrets is complete; put the bot's token into deploy/secrets/telegram_bot_token if there is one.")


def _kept(name, value):
    """Return the content of a secret file, which is created with ``value`` if it is missing.

    The file has no newline at its end, because its whole content is the value.
    """
    path = os.path.join(FOLDER, name)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)  # the containers' accounts read it
    except FileExistsError:
        with open(path) as file:
            return file.read()
    with os.fdopen(handle, "w") as file:
        file.write(value)
    return value


if __name__ == "__main__":
    sys.exit(main())
