"""How much an account may change over REST. Counted a web process, in its memory: nothing else has to be up for it."""

from django.conf import settings
from django.core.cache import caches
from django.views import View
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle


class Throttle(SimpleRateThrottle):
    """A 429 with ``Retry-After`` for whoever is beyond ``most`` within a minute, unless it is 0. Reading is free."""

    cache = caches["throttles"]

    def most(self) -> int:
        raise NotImplementedError

    def get_rate(self) -> str | None:
        return f"{self.most()}/min" if self.most() else None

    def counts(self, view: View) -> bool:
        raise NotImplementedError

    def get_cache_key(self, request: Request, view: View) -> str | None:
        if request.method in SAFE_METHODS or not request.user.is_authenticated or not self.counts(view):
            return None
        return f"{request.user.pk}:{self.about(request)}"

    def about(self, request: Request) -> str:
        raise NotImplementedError


class Creations(Throttle):
    """What begins something new, whatever it is."""

    def most(self) -> int:
        return int(settings.ORCHESTRA.writes_per_minute)

    def counts(self, view: View) -> bool:
        return "pk" not in view.kwargs

    def about(self, request: Request) -> str:
        return "new"


class Repetitions(Throttle):
    """The same done to the same thing: so a first answer and a first cancel are never held up, whatever came before."""

    def most(self) -> int:
        return -(-int(settings.ORCHESTRA.writes_per_minute) // 10)  # rounded up: a small limit is not none

    def counts(self, view: View) -> bool:
        return "pk" in view.kwargs

    def about(self, request: Request) -> str:
        return request.path.rstrip("/")
