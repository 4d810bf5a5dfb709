"""A real Chromium for tests, and pages that fail the test when they complain."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
WATCH_POLICY = """
addEventListener('securitypolicyviolation', event => console.error(
    `policy: ${event.effectiveDirective} ${event.blockedURI} ${event.sample} ${event.sourceFile}:${event.lineNumber}`))
"""


@contextlib.contextmanager
def running() -> Iterator[Browser]:
    """One Chromium; the test is skipped where there is none."""
    # Playwright runs an event loop on this thread, for which Django would refuse plain database calls.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    try:
        with sync_playwright() as playwright:
            own = playwright.chromium.executable_path
            path = CHROMIUM or (own if os.path.exists(own) else None)
            if path is None:
                pytest.skip("there is no Chromium on this machine")
            chromium = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
            yield chromium
            chromium.close()
    finally:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@contextlib.contextmanager
def context(browser: Browser, url: str, **options: Any) -> Iterator[tuple[BrowserContext, list[str]]]:
    """A browser of somebody's own at ``url``, and what its pages complain about, policy violations included."""
    own = browser.new_context(base_url=url, **options)
    complaints: list[str] = []
    own.add_init_script(WATCH_POLICY)
    own.on("page", lambda page: _listen(page, complaints))
    try:
        yield own, complaints
    finally:
        own.close()


@contextlib.contextmanager
def quiet_page(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    """One page; anything it complains about fails the test."""
    with context(browser, url, **options) as (own, complaints):
        yield own.new_page()
        own.close()
        assert complaints == []


def _listen(page: Page, complaints: list[str]) -> None:
    def note(said: ConsoleMessage) -> None:
        if said.type in ("error", "warning"):
            complaints.append(f"{said.text} ({said.location.get('url', '')})")

    page.on("console", note)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
