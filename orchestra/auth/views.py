"""Authentication views for browsers: sign in by password, sign out here or everywhere, refused
forms.
"""

import math
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth import logout, user_logged_in
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.utils import timezone
from django.views.decorators.http import require_POST
from knox.models import AuthToken

from orchestra.auth import login_throttle
from orchestra.auth import next_page as destinations
from orchestra.auth.actor import Actor, acting
from orchestra.auth.csrf import HEADER, why_refused
from orchestra.auth.session_store import hashed
from orchestra.auth.sign_in_links import make_link
from orchestra.middleware import console_host
from orchestra.models import BrowserSession, SignInAttempt, SignInLink

FRESH = timedelta(minutes=10)
SIGNED_IN_AT = "signed_in_at"


class PasswordForm(AuthenticationForm):
    """Name and password, checked only as often as ``login_throttle`` allows."""

    error_messages = {
        "invalid_login": "Name or password is wrong.",
        "inactive": "Name or password is wrong.",
    }

    def clean(self) -> dict[str, Any]:
        name, word = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if not name or not word:
            return super().clean()
        attempt = count_or_refuse(name, address_of(self.request))
        try:
            cleaned: dict[str, Any] = super().clean()
        except ValidationError as error:
            raise ValidationError(f"{error.message} {_attempts_left_in_words(attempt)}", code=error.code) from None
        login_throttle.mark_succeeded(attempt)
        return cleaned


class SignIn(LoginView):
    """Sign in by password, then open the requested page if it is one of this site."""

    template_name = "sign_in/password.html"
    authentication_form = PasswordForm
    next_page = "/"

    def get_context_data(self, **context: Any) -> dict[str, Any]:
        elsewhere = not console_host.keeps_sessions(self.request.get_host())
        wanted = self.get_redirect_url()
        more = {"wanted": wanted, "refused": _is_refused(self.request, wanted), "elsewhere": elsewhere}
        return super().get_context_data(**context, **more, for_a_shell=destinations.for_a_shell(wanted))

    def get_redirect_url(self, request: HttpRequest | None = None) -> str:
        """Return the page that this request names; the page of an earlier request, kept in the
        cookie, does not count.
        """
        asked = request or self.request
        return destinations.safe(asked.POST.get("next", asked.GET.get("next", "")))

    def render_to_response(self, context: dict[str, Any], **response: Any) -> HttpResponse:
        """Keep the requested page in a cookie, because the person may sign in by a one-time link
        instead.
        """
        answer = super().render_to_response(context, **response)
        if not context["elsewhere"]:
            destinations.remember(answer, context["wanted"])
        return answer

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        """Sign in, or on a host that keeps no sessions show a one-time link to the host that does.

        It is a page and not a redirect: the content security policy stops a redirect that leaves
        the form's host, unless it names the console's private host to every visitor.
        """
        if console_host.keeps_sessions(self.request.get_host()):
            answer = super().form_valid(form)
            destinations.remember(answer, "")
            return answer
        user = form.get_user()
        with acting(lambda: Actor(user.get_username(), "dashboard", address_of(self.request))):
            made = urlsplit(make_link(user, wanted=self.get_redirect_url()))
        path = f"{made.path}?{made.query}" if made.query else made.path
        link = console_host.address(self.request, settings.ORCHESTRA.console_host, path)
        return render(self.request, "sign_in/go_on.html", {"link": link})

    def form_invalid(self, form: Any) -> HttpResponse:
        response = super().form_invalid(form)
        for error in form.non_field_errors().as_data():
            if error.code == "throttled":
                response.status_code = 429
                response["Retry-After"] = str(error.params["seconds"])
        return response


def count_or_refuse(username: str, address: str) -> SignInAttempt:
    """Count an attempt to sign in.

    Raises:
        ValidationError: there were too many; its text says how long to wait.
    """
    try:
        return login_throttle.count_attempt(username=username, address=address)
    except login_throttle.TooManyAttempts as many:
        seconds = math.ceil(many.wait.total_seconds())
        minutes = math.ceil(seconds / 60)
        words = (
            f"Too many attempts. Try again in {minutes} minute{'' if minutes == 1 else 's'}, or use a one-time link."
        )
        raise ValidationError(words, code="throttled", params={"seconds": seconds}) from None


def address_of(request: HttpRequest | None) -> str:
    """Return the address from which the request came, as the server sees it."""
    return str(request.META.get("REMOTE_ADDR") or "") if request else ""


def end_everywhere(user: User, *, keep: str = "", tokens: bool = True) -> None:
    """End the sessions of ``user`` except the one with the key ``keep``, the unused links and, with
    ``tokens``, the API tokens.

    Open sockets are notified with the commit, and close (``orchestra.realtime.sockets``).
    """
    with transaction.atomic():
        BrowserSession.objects.filter(user=user).exclude(session_key=hashed(keep)).delete()
        SignInLink.objects.filter(user=user, used_at=None).delete()
        if tokens:
            AuthToken.objects.filter(user=user).delete()


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """End this browser's session; the next sign-in leads back to the page that was open."""
    logout(request)
    return destinations.to_sign_in(_page_left(request))


@require_POST
def sign_out_everywhere(request: HttpRequest) -> HttpResponse:
    """End all sessions and API tokens of the account, the present session included."""
    if isinstance(request.user, User):
        end_everywhere(request.user)
    logout(request)
    messages.success(request, "Signed out everywhere. API tokens are void too.")
    return redirect("sign-in-form")


def _page_left(request: HttpRequest) -> str:
    """Return the page from which a person signed out; empty for the account page, which the next
    person may not want.
    """
    page = destinations.safe(request.POST.get("next", "")) or destinations.page_of(request)
    return "" if page.startswith(reverse("account")) else page


def _is_refused(request: HttpRequest, wanted: str) -> bool:
    """Whether the signed-in account may not open the admin, which redirects here without an
    explanation.
    """
    return wanted.startswith(reverse("admin:index")) and not admin.site.has_permission(request)


def stale_form(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a form that the CSRF check refused (``CSRF_FAILURE_VIEW``): why nothing was changed,
    and what helps.
    """
    why = why_refused(request, reason)
    if request.path.startswith("/api/"):
        return JsonResponse({"code": "forbidden", "detail": why}, status=403)
    answer = render(request, "sign_in/stale.html", {"why": why}, status=403)
    answer.headers[HEADER] = why
    return answer


def _attempts_left_in_words(attempt: SignInAttempt) -> str:
    tries = login_throttle.attempts_left(attempt)
    rest = f"{login_throttle.WINDOW // timedelta(minutes=1)} minutes of rest"
    return f"{tries} {'try' if tries == 1 else 'tries'} left, then {rest}." if tries else f"Now {rest}."


def note_sign_in(sender: Any, request: HttpRequest, user: Any, **_signal: Any) -> None:
    """Receive ``user_logged_in``: note the time in the session, and delete expired sessions of all
    accounts.
    """
    request.session[SIGNED_IN_AT] = timezone.now().timestamp()
    BrowserSession.objects.filter(expire_date__lt=Now()).delete()


user_logged_in.connect(note_sign_in, dispatch_uid="orchestra.auth.note_sign_in")

urlpatterns = [
    path("sign-in", SignIn.as_view(), name="sign-in-form"),
    path("sign-out", sign_out, name="sign-out"),
    path("sign-out/everywhere", sign_out_everywhere, name="sign-out-everywhere"),
]
