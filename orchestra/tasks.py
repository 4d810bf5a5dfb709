from celery import shared_task

from orchestra import canary, diagnostics, leases


@shared_task(name="orchestra.beat", ignore_result=True)
def beat() -> None:
    """Proof that beat sends and a worker works; the health pages look at its age."""
    leases.touch(diagnostics.BEAT)


@shared_task(name="orchestra.canary", ignore_result=True)
def sing(token: str) -> None:
    """Sent by a worker to itself."""
    canary.heard(token)
