"""A transcript as Markdown: an agent's words cannot lead a person to another port of the console's own host."""

import re
from dataclasses import replace
from typing import Any

import pytest
from markdown_it import MarkdownIt

from sessions_app.transcript.markdown import _quoted

CONSOLE, FRONT = "orchestra-0123456789abcdef.localhost", "orchestra.localhost"


@pytest.fixture(autouse=True)
def _hosts(settings: Any) -> None:
    settings.ORCHESTRA = replace(settings.ORCHESTRA, console_host=CONSOLE, front_host=FRONT)


@pytest.mark.parametrize("host", [CONSOLE, FRONT])
@pytest.mark.parametrize(
    "text",
    [
        "see [this](http://{}:8000/)",
        "see [this](<http://{}:8000/>)",
        "see [this](\nhttp://{}:8000/\n)",
        "see [this][1]\n\n[1]: http://{}:8000/",
        "![p](//{}:8000/p.png)",
        "[x](http://me@{}:8000/) `` ` and http://{}:8000/",
        "[x](&#104;ttp://orchestra&#46;localhost:8000/)",
        "[x](http://orchestra%2Elocalhost:8000/)",
        "[x](http://orchestra\\.localhost:8000/)",
        "[x](http://ORCHESTRA.localhost:8000/)",
        "[x](http://orchestra\uff0elocalhost:8000/)",
    ],
)
def test_no_link_to_the_consoles_host(text: str, host: str) -> None:
    page = MarkdownIt("commonmark").render(_quoted(text.replace("{}", host)))
    assert re.findall(r'(?:href|src)="([^"]*)"', page) == []


def test_other_links_stay() -> None:
    assert _quoted("see [docs](https://example.com/)\nand more") == "> see [docs](https://example.com/)\n> and more"
