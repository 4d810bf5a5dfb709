"""The admin site, for staff and administrators.

It uses the console's pages to sign in, sign out and change a password.
"""

from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django.contrib.admin import AdminSite
from django.contrib.admin.apps import AdminConfig
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import BadRequest, FieldDoesNotExist, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.cache import never_cache

from orchestra.auth.permissions import Right, may
from orchestra.runtime.light_commands import is_light


class OrchestraAdminSite(AdminSite):
    site_header = "Orchestra"
    site_title = "Orchestra"
    index_title = "What needs a person"
    enable_nav_sidebar = False  # the pages need the width; the header leads to what people come for

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Wrap ``view`` as Django does, and answer malformed parameters with 400 instead of 500.

        An address may name a field that does not exist (``_to_field=``); an action may name invalid
        ids.
        """

        @wraps(view)
        def strict(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            try:
                return view(request, *args, **kwargs)
            except FieldDoesNotExist as error:
                raise BadRequest(str(error)) from None
            except (ValueError, ValidationError) as error:
                if ACTION_CHECKBOX_NAME not in request.POST:
                    raise
                raise BadRequest(str(error)) from None

        return super().admin_view(strict, cacheable)

    def has_permission(self, request: HttpRequest) -> bool:
        user = request.user
        return user.is_active and (user.is_staff or may(user, Right.ADMINISTER))

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return _to_sign_in(request)

    def logout(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        from orchestra.auth.views import sign_out  # late: it needs the models, which are loaded after this site

        return sign_out(request)

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return redirect("account")


@never_cache
def _to_sign_in(request: HttpRequest) -> HttpResponse:
    """Redirect to the sign-in page, which also explains a missing permission to a signed-in person."""
    wanted = request.GET.get("next", reverse("admin:index"))
    return redirect(f"{reverse('sign-in-form')}?{urlencode({'next': wanted})}")


class OrchestraAdminConfig(AdminConfig):
    default_site = "orchestra.admin_site.OrchestraAdminSite"

    def ready(self) -> None:
        """Import the apps' admin modules, unless this process cannot serve a page."""
        if not is_light():
            super().ready()
