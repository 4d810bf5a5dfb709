"""Accounts that a command line names."""

from django.contrib.auth.models import User
from django.core.management.base import CommandError


def find_account(name: str) -> User:
    """
    Raises:
        CommandError: there is no such account; the text says how to make one.
    """
    try:
        return User.objects.get(username=name)
    except User.DoesNotExist:
        raise CommandError(
            f"There is no account {name!r}. For a person: ./manage.py createsuperuser --username {name}; "
            f"for a program: ./manage.py create_token {name} --create --group Operator"
        ) from None
