"""An OpenTelemetry collector that remembers what it was sent: OTLP over HTTP, protobuf, as the protocol says it."""

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """Listens on a free port of this machine until ``stop``."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.metrics: list[dict[str, Any]] = []
        self.services: set[str] = set()
        self.refuse = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                if not outer.refuse:
                    outer._take(self.path, body)
                self.send_response(400 if outer.refuse else 200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _take(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                self._hear_of(resource.resource)
                self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        elif path == "/v1/metrics":
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self._hear_of(resource.resource)
                self.metrics.append({m.name: m for scope in resource.scope_metrics for m in scope.metrics})

    def _hear_of(self, resource: Any) -> None:
        self.services |= {one.value.string_value for one in resource.attributes if one.key == "service.name"}


def attributes(span: Any) -> dict[str, Any]:
    """What is written on a span."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}
