"""Orchestra's sender in bench/hub.py: a process of the installation that changes rows."""

import time
from datetime import timedelta
from uuid import UUID

import django

from bench.child import serve
from bench.pace import paced


def main() -> None:
    from django.db import connection, transaction
    from django.db.models.functions import Now
    from django.utils import timezone

    from approvals.models import Approval
    from orchestra.db import notify
    from orchestra.realtime import hub
    from sessions_app.models import AgentSession
    from sessions_app.transcript import writer

    def create_request() -> None:
        """Create an approval request, whose title contains the time just before its commit."""
        approval = Approval(title="", kind="external", expires_at=timezone.now() + timedelta(hours=1))
        with transaction.atomic():
            approval.save(force_insert=True)
            notify.send("approval", str(approval.pk))
            with connection.cursor() as cursor:
                title = f"ts={time.monotonic():.6f}"
                cursor.execute("UPDATE approvals SET title = %s WHERE id = %s", [title, approval.pk])

    def stream(count: int, rate: float) -> int:
        """Create approval requests at a rate."""
        for _ in paced(count, rate):
            create_request()
        return count

    def clear() -> int:
        return Approval.objects.filter(status="pending").update(status="cancelled", decided_at=Now())

    def push_costs(count: int, rate: float) -> dict[str, list[float]]:
        """Return the seconds that a sender needs for a notification in a transaction, and for a
        piece of text.
        """
        notifications, texts = [], []
        for number in paced(count, rate):
            with transaction.atomic():
                Approval.objects.filter(pk=UUID(int=number)).exists()  # the transaction has begun
                before = time.monotonic()
                notify.send("bench", str(number))
                notifications.append(time.monotonic() - before)
            before = time.monotonic()
            hub.publish("bench", {"type": "delta", "text": "x" * 220})
            texts.append(time.monotonic() - before)
        return {"ring": notifications, "text": texts}

    def session() -> str:
        return str(AgentSession.objects.create(title="bench", working_directory="/tmp").pk)

    def speak(session: str, count: int, rate: float) -> int:
        """Write lines of a transcript at a rate; return the last sequence number."""
        last = 0
        for _ in paced(count, rate):
            text = f"ts={time.monotonic():.6f} " + "x" * 150
            last = writer.append(UUID(session), [writer.line("text", text=text)])
        return last

    serve(stream=stream, clear=clear, push_costs=push_costs, session=session, speak=speak)


if __name__ == "__main__":
    django.setup()
    main()
