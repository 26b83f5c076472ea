"""The documentation as resources for agents: the English pages that the site is made of, as Markdown. A wheel
brings those that a user needs, in one file; in a checkout all lie beside src."""

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import UsageError, did_you_mean

if TYPE_CHECKING:
    import mcp_types as types

MARKDOWN = "text/markdown"
SCHEME = "oomless://docs/"
PACKAGE = Path(__file__).parents[1]
PACKED = PACKAGE / "docs" / "pages.json"
"""What a wheel brings (hatch_build.py): texts by the names of pages."""
WRITTEN = PACKAGE.parents[1] / "docs" / "en"


class DocsPage(NamedTuple):
    """A page of the documentation."""

    name: str
    text: str

    @property
    def uri(self) -> str:
        return f"{SCHEME}{self.name}"

    @property
    def title(self) -> str:
        """Return its first heading."""
        return self.text.partition("\n")[0].lstrip("# ").rstrip()


@cache
def docs_pages() -> dict[str, DocsPage]:
    """Return every page by its address.

    >>> docs_pages()["oomless://docs/memory"].title
    'What lies on a card'
    """
    if PACKED.exists():
        texts = json.loads(PACKED.read_text(encoding="utf-8"))
    else:
        texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted(WRITTEN.glob("*.md"))}
    pages = (DocsPage(name, text) for name, text in texts.items())
    return {page.uri: page for page in pages}


def docs_text(uri: str) -> str:
    """Return a page as Markdown.

    >>> docs_text("oomless://docs/memory").splitlines()[0]
    '# What lies on a card'
    """
    page = docs_pages().get(uri)
    if page is None:
        raise UsageError(f"no page {uri[:80]!r}", did_you_mean(uri[:80], list(docs_pages())))
    return page.text


async def listed(context: Any, params: "types.PaginatedRequestParams | None") -> "types.ListResourcesResult":
    """Return every page, for an agent that asks what there is."""
    import mcp_types as types

    return types.ListResourcesResult(
        resources=[
            types.Resource(uri=page.uri, name=page.name, title=page.title, mime_type=MARKDOWN)
            for page in docs_pages().values()
        ]
    )


async def read_page(context: Any, params: "types.ReadResourceRequestParams") -> "types.ReadResourceResult":
    """Return the page that an agent asks for; an address that is none is refused with what was meant."""
    import mcp_types as types
    from mcp import MCPError

    try:
        text = docs_text(params.uri)
    except UsageError as error:
        raise MCPError(types.INVALID_PARAMS, f"{error.message}: {error.hint}") from None
    page = types.TextResourceContents(uri=params.uri, mime_type=MARKDOWN, text=text)
    return types.ReadResourceResult(contents=[page])
