"""The page of the reader's own account: rights, open browser sessions, API tokens, password."""

from datetime import timedelta

from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.forms import PasswordChangeForm, SetPasswordForm
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods
from knox.models import AuthToken

from console.shell import show
from orchestra.auth import login_throttle
from orchestra.auth import next_page as destinations
from orchestra.auth.permissions import Right, rights_of
from orchestra.auth.views import FRESH, SIGNED_IN_AT, address_of, count_or_refuse, end_everywhere
from orchestra.models import BrowserSession


@never_cache
@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
def account(request: HttpRequest) -> HttpResponse:
    user = request.user
    if not isinstance(user, User):
        return destinations.to_sign_in(request.path)
    form = _password_form(request, user)
    if form is not None and form.is_bound and not _may_try(request, user):
        return redirect("account")
    if form is not None and form.is_valid():
        form.save()
        update_session_auth_hash(request, user)
        end_everywhere(user, keep=request.session.session_key or "", tokens=False)
        messages.success(request, "The password is changed. Other browsers were signed out.")
        return redirect("account")
    alive = Q(expiry=None) | Q(expiry__gt=timezone.now())
    context = {
        "form": form,
        "browsers": BrowserSession.objects.filter(user=user, expire_date__gt=Now()).count(),
        "tokens": AuthToken.objects.filter(alive, user=user).order_by("-created"),
        "held": [right for right in Right if right in rights_of(user)],
        "fresh_minutes": FRESH // timedelta(minutes=1),
    }
    return show(request, "console/account.html", context, title="Your account", status=400 if _failed(form) else 200)


def _password_form(request: HttpRequest, user: User) -> "SetPasswordForm[User] | None":
    """Return the form for a new password; None for an account without one that signed in too long
    ago.

    The form wants the old password. An account without one must have signed in lately, so that a
    person at an unattended browser cannot set one.
    """
    data = request.POST if request.method == "POST" else None
    if user.has_usable_password():
        return PasswordChangeForm(user, data)
    since = timezone.now().timestamp() - request.session.get(SIGNED_IN_AT, 0)
    return SetPasswordForm(user, data) if since < FRESH.total_seconds() else None


def _may_try(request: HttpRequest, user: User) -> bool:
    """Whether the old password may be checked; attempts here count like attempts to sign in."""
    if not user.has_usable_password():
        return True
    try:
        attempt = count_or_refuse(user.get_username(), address_of(request))
    except ValidationError as error:
        messages.error(request, error.message)
        return False
    if user.check_password(request.POST.get("old_password", "")):
        login_throttle.mark_succeeded(attempt)
    return True


def _failed(form: "SetPasswordForm[User] | None") -> bool:
    return form is not None and form.is_bound and bool(form.errors)
