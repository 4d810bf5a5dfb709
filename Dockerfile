# syntax=docker/dockerfile:1
# The target `orchestra` is the image of all processes; `sessions` adds the coding CLI for the workers that run agents.

FROM python:3.13-slim-trixie AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /app
COPY requirements.txt requirements-s3.txt requirements-otel.txt ./
# pip checks every file against the hash in the lock files, and compiles nothing.
RUN python -m venv .venv \
    && .venv/bin/pip install --require-hashes --only-binary :all: -r requirements.txt \
    && .venv/bin/pip install --require-hashes --only-binary :all: -r requirements-s3.txt \
    && .venv/bin/pip install --require-hashes --only-binary :all: -r requirements-otel.txt

FROM python:3.13-slim-trixie AS orchestra
# pg_dump must be as new as the server, and Debian's is older, so it comes from PostgreSQL's own packages.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates postgresql-common git util-linux \
    && /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y \
    && apt-get install -y --no-install-recommends postgresql-client-18 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home orchestra \
    && install -d -o orchestra -g orchestra -m 0700 /data /workspaces /var/log/orchestra
WORKDIR /app
COPY --from=packages /app/.venv .venv
COPY . .
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ORCHESTRA_HOST=0.0.0.0 \
    ORCHESTRA_DATA_DIR=/data \
    ORCHESTRA_LOG_DIR=/var/log/orchestra \
    AGENT_WORKING_ROOTS=/workspaces
USER orchestra
EXPOSE 5284
VOLUME ["/data", "/workspaces", "/var/log/orchestra"]
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=4 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:5284/health/live', timeout=4)"]
CMD ["python", "manage.py", "run", "web"]

FROM orchestra AS sessions
USER root
ARG CLI_VERSION=2.1.330
RUN apt-get update \
    && apt-get install -y --no-install-recommends nodejs npm \
    && rm -rf /var/lib/apt/lists/* \
    && npm install --global "@anthropic-ai/claude-code@${CLI_VERSION}" \
    && npm cache clean --force
USER orchestra
HEALTHCHECK NONE
CMD ["python", "manage.py", "run", "sessions"]
