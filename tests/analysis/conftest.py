"""A headless Chromium for the tests that look at the report as its readers do."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str:
    """Its path; installed from Debian's packages where it is absent and that can be done. Skips the test otherwise."""
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        install = ("install", "--yes", "--no-install-recommends", "chromium", "fonts-dejavu-core")
        for arguments, seconds in ((("update",), 120), (install, 300)):
            try:
                subprocess.run(
                    ["apt-get", "-q", *arguments], env=environment, capture_output=True, timeout=seconds
                )
            except subprocess.TimeoutExpired:  # an older list may do
                continue
        found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        pytest.skip(
            "no Chromium is installed, and it could not be (Debian, as root: apt-get install chromium)"
        )
    return found


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A playwright ``Browser``."""
    api = pytest.importorskip("playwright.sync_api")
    path = find_chromium()
    with api.sync_playwright() as playwright:
        # Chromium's sandbox refuses to work for root; what it opens here is ours.
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()
