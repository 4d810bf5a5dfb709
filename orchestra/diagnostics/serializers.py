"""Responses of the diagnostics, for the OpenAPI schema."""

from typing import Any

from rest_framework import serializers


class MigrationsSerializer(serializers.Serializer[Any]):
    applied = serializers.IntegerField()
    missing = serializers.ListField(child=serializers.CharField())


class DatabaseSerializer(serializers.Serializer[Any]):
    status = serializers.ChoiceField(choices=["ok"], help_text="Without the database the response is a 503.")
    engine = serializers.ChoiceField(choices=["sqlite", "postgresql"])
    version = serializers.CharField()
    latency_ms = serializers.FloatField(help_text="Round trip of one statement.")
    migrations = MigrationsSerializer()
    counts = serializers.DictField(
        child=serializers.IntegerField(), help_text="Rows by table; an estimate above 10,000 on PostgreSQL."
    )


class LatencySerializer(serializers.Serializer[Any]):
    median = serializers.FloatField()
    p95 = serializers.FloatField()
    asked = serializers.IntegerField(help_text="How many statements were measured.")


class TableSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    rows = serializers.IntegerField()
    size_bytes = serializers.IntegerField(allow_null=True, help_text="With its indexes.")
    dead_rows = serializers.IntegerField(allow_null=True)
    scans = serializers.IntegerField(allow_null=True, help_text="How often the whole table was scanned.")
    index_scans = serializers.IntegerField(allow_null=True)


class IndexSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    table = serializers.CharField()
    size_bytes = serializers.IntegerField(allow_null=True)
    used = serializers.IntegerField(
        allow_null=True, help_text="How often it was used since the server's statistics were reset."
    )


class SlowStatementSerializer(serializers.Serializer[Any]):
    statement = serializers.CharField()
    calls = serializers.IntegerField()
    mean_ms = serializers.FloatField()
    longest_ms = serializers.FloatField()


class RunningStatementSerializer(serializers.Serializer[Any]):
    statement = serializers.CharField()
    state = serializers.CharField()
    waits_for = serializers.CharField(allow_null=True)
    seconds = serializers.FloatField()


class PoolSerializer(serializers.Serializer[Any]):
    least = serializers.IntegerField()
    most = serializers.IntegerField()
    open = serializers.IntegerField()
    free = serializers.IntegerField()
    requests_waiting = serializers.IntegerField(help_text="Requests that wait for a connection now.")
    requests = serializers.IntegerField()
    requests_that_waited = serializers.IntegerField()
    connections_lost = serializers.IntegerField()


class ServerSerializer(serializers.Serializer[Any]):
    most_connections = serializers.IntegerField()
    connections = serializers.IntegerField()


class PerformanceSerializer(serializers.Serializer[Any]):
    engine = serializers.ChoiceField(choices=["sqlite", "postgresql"])
    latency_ms = LatencySerializer()
    size_bytes = serializers.IntegerField()
    tables = TableSerializer(many=True)
    indexes = IndexSerializer(many=True)
    slow_statements = SlowStatementSerializer(many=True, allow_null=True, help_text="Needs pg_stat_statements.")
    running_statements = RunningStatementSerializer(
        many=True, allow_null=True, help_text="Statements that have been running for more than a second."
    )
    pool = PoolSerializer(allow_null=True, help_text="The pool of the web process that responds.")
    server = ServerSerializer(allow_null=True)


class FiguresSerializer(serializers.Serializer[Any]):
    QueueSize = serializers.IntegerField()
    EnqueueTotal = serializers.IntegerField()
    DequeueTotal = serializers.IntegerField()
    ApprovalsAccepted = serializers.IntegerField()
    ApprovalsRejected = serializers.IntegerField()
    ApprovalsTimeout = serializers.IntegerField()
    TelegramRequests = serializers.IntegerField()
    TelegramFailures = serializers.IntegerField()
    TelegramRetryAttempts = serializers.IntegerField()
    TelegramEnabled = serializers.BooleanField()
    TelegramServiceHealthy = serializers.BooleanField()
    ApprovalTimeoutServiceHealthy = serializers.BooleanField()
    AverageResponseTimeSeconds = serializers.FloatField(allow_null=True)
    AverageTelegramDurationSeconds = serializers.FloatField(allow_null=True)


class QueueSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    depth = serializers.IntegerField(allow_null=True, help_text="Messages that no worker has taken.")
    workers = serializers.IntegerField(help_text="How many workers consume it.")


class ProcessSerializer(serializers.Serializer[Any]):
    process = serializers.CharField()
    host = serializers.CharField()
    pid = serializers.IntegerField()
    age_seconds = serializers.FloatField(help_text="Seconds since its last heartbeat; one every 15 s is normal.")
    lives = serializers.BooleanField()
    worker = serializers.CharField(allow_null=True, help_text="Its name in Celery, if it is a worker.")
    queues = serializers.ListField(child=serializers.CharField())
    canary_age_seconds = serializers.FloatField(
        allow_null=True, help_text="Seconds since its last liveness check; one every 15 s is normal."
    )
    memory_bytes = serializers.IntegerField()
    threads = serializers.IntegerField()
    open_files = serializers.IntegerField()
    connections = serializers.IntegerField(help_text="Connections to PostgreSQL in its pool.")


class WorkersSerializer(serializers.Serializer[Any]):
    broker = serializers.ChoiceField(choices=["ok", "down"])
    beat_age_seconds = serializers.FloatField(
        allow_null=True,
        help_text="Seconds since a worker received beat's message; one every 10 s is normal, null if there was none.",
    )
    queues = QueueSerializer(many=True)
    processes = ProcessSerializer(many=True)
