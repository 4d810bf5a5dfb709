"""Template tags of the console."""

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()


@register.simple_tag
def icon(name: str, label: str = "", extra: str = "") -> SafeString:
    """An icon of console/icons.html. Without ``label`` screen readers skip it, so that a word must
    stand beside it.
    """
    aria = format_html('role="img" aria-label="{}"', label) if label else 'aria-hidden="true"'
    return format_html(
        '<svg class="icon{}" {}><use href="#i-{}"/></svg>', f" {extra}" if extra else "", SafeString(aria), name
    )
