"""Django's in-memory cache, whose reads are counted in the ``django_cache_*`` families of
django-prometheus.
"""

from typing import Any

from django.core.cache.backends import locmem
from django_prometheus.cache.metrics import (
    django_cache_get_total,
    django_cache_hits_total,
    django_cache_misses_total,
)

BACKEND = "locmem"
_MISSING = object()


class LocMemCache(locmem.LocMemCache):
    """The class of the same name in django-prometheus returns the default for every stored value
    that is false.
    """

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        django_cache_get_total.labels(backend=BACKEND).inc()
        value = super().get(key, _MISSING, version)
        if value is _MISSING:
            django_cache_misses_total.labels(backend=BACKEND).inc()
            return default
        django_cache_hits_total.labels(backend=BACKEND).inc()
        return value
