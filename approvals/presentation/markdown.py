"""Markdown of agents as safe HTML: without raw HTML, without images, and with links to the web and
to mail alone.
"""

from functools import cache
from urllib.parse import urlsplit

from markdown_it import MarkdownIt

from approvals.presentation.safe_text import visible

LONGEST = 50_000  # characters; more is shown as plain text
LONGEST_LINE = 5_000
SCHEMES = frozenset({"http", "https", "mailto"})


def to_html(text: str) -> str | None:
    """Render ``text`` as HTML, with hidden characters made visible; None if it is too long."""
    if len(text) > LONGEST or any(len(line) > LONGEST_LINE for line in text.split("\n")):
        return None
    try:
        return str(_parser().render(visible(text)))
    except RecursionError:
        return None


@cache
def _parser() -> MarkdownIt:
    """CommonMark with tables.

    Raw HTML is shown as text, and images are not parsed: they would load from other hosts.
    """
    parser = (
        MarkdownIt("commonmark", {"html": False, "breaks": True, "maxNesting": 20}).enable("table").disable("image")
    )
    parser.validateLink = _is_harmless  # type: ignore[method-assign,assignment]
    parser.add_render_rule("link_open", _link_open)
    return parser


def _is_harmless(address: str) -> bool:
    """Refuse relative links: they would lead into Orchestra itself, with the reader's permissions."""
    try:
        return urlsplit(address).scheme.lower() in SCHEMES
    except ValueError:
        return False


def _link_open(self, tokens, index, options, env):  # type: ignore[no-untyped-def]
    """Show the target of a link in its title, and send no referrer to it."""
    token = tokens[index]
    token.attrSet("rel", "noopener noreferrer nofollow")
    token.attrSet("target", "_blank")
    token.attrSet("title", str(token.attrGet("href")))
    return self.renderToken(tokens, index, options, env)
