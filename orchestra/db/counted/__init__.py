"""Database backends of the processes that count: django-prometheus counts and times their
statements.

Commands that a person types use the backends without it, since importing prometheus_client takes
longer than they do.
"""
