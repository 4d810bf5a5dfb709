"""What this app does when a doorbell rings."""


def connect() -> None:
    """Nothing yet."""
