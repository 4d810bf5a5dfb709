from typing import Any

from django_prometheus.db.metrics import connection_errors_total, connections_total

from orchestra.db.counted.cursors import counting_cursor
from orchestra.db.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):
    """Counts a connection when it is made; django-prometheus's own backend would count each use of
    a pooled one.
    """

    def get_connection_params(self) -> dict[str, Any]:
        params = super().get_connection_params()
        return params | {"cursor_factory": counting_cursor(params["cursor_factory"], self.alias, self.vendor)}

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        try:
            return super().get_new_connection(conn_params)
        except Exception:
            connection_errors_total.labels(self.alias, self.vendor).inc()
            raise

    def _configure_connection(self, connection: Any) -> bool:
        """Django and its pool call this once for each new connection."""
        connections_total.labels(self.alias, self.vendor).inc()
        return bool(super()._configure_connection(connection))  # type: ignore[misc]
