"""``manage.py sign_in_link USER [--next PATH]`` prints the URL alone as the last line on stdout."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from orchestra.auth import next_page, sign_in_links
from orchestra.management.accounts import find_account


class Command(BaseCommand):
    help = "Print a link that signs USER in: works once, within ten minutes."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", metavar="USER")
        parser.add_argument("--next", metavar="PATH", default="", help="the page to open then, such as /approvals/ID")

    def handle(self, *args: Any, **options: Any) -> None:
        user = find_account(options["user"])
        if not user.is_active:
            raise CommandError(f"The account {options['user']} is switched off.")
        wanted = next_page.safe(options["next"])
        if options["next"] and not wanted:
            raise CommandError("--next takes the path of a page of the console, such as /approvals/ID.")
        self.stdout.write(sign_in_links.make_link(user, wanted=wanted))
