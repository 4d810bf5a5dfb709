"""Accounts as command lines name them."""

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError


def find_account(name: str) -> Any:
    """The account a command line names.

    Raises:
        CommandError: there is none; says how to make one.
    """
    users = get_user_model()
    try:
        return users._default_manager.get_by_natural_key(name)
    except users.DoesNotExist:
        raise CommandError(
            f"There is no account {name!r}. For a person: ./manage.py createsuperuser --username {name}; "
            f"for a program: ./manage.py create_token {name} --create --group Operator"
        ) from None
