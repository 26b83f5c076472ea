"""A server and a browser for the tests of a file: starting them takes longer than most of them."""

from collections.abc import Iterator

import pytest
from in_browser import Browser, chromium, served


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with served() as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found
