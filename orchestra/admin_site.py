"""The admin site: for staff and administrators."""

from django.contrib.admin import AdminSite
from django.contrib.admin.apps import AdminConfig
from django.http import HttpRequest

from orchestra.rights import Right, may


class OrchestraAdminSite(AdminSite):
    site_header = "Orchestra"
    site_title = "Orchestra"
    index_title = "What needs a person"
    enable_nav_sidebar = False  # the pages need the width; the header leads to what people come for

    def has_permission(self, request: HttpRequest) -> bool:
        user = request.user
        return user.is_active and (user.is_staff or may(user, Right.ADMINISTER))


class OrchestraAdminConfig(AdminConfig):
    default_site = "orchestra.admin_site.OrchestraAdminSite"
