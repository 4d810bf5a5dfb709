"""Cursors that count and time their statements."""

from functools import cache

from django_prometheus.db.common import ExportingCursorWrapper

counting_cursor = cache(ExportingCursorWrapper)
"""``(cursor class, alias, vendor)`` -> its counting subclass.

django-prometheus makes one class for each connection (PostgreSQL) or cursor (SQLite), which takes
as long as a statement.
"""
