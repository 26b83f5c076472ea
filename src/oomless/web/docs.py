"""The documentation as resources for agents: the English pages that the site is made of, as Markdown. A wheel
brings those that a user needs; in a checkout all lie beside src."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import UsageError, did_you_mean

if TYPE_CHECKING:
    import mcp_types as types

MARKDOWN = "text/markdown"
SCHEME = "oomless://docs/"
PACKAGE = Path(__file__).parents[1]
PLACES = (PACKAGE / "docs", PACKAGE.parents[1] / "docs" / "en")


class DocsPage(NamedTuple):
    """A page of the documentation."""

    name: str
    path: Path

    @property
    def uri(self) -> str:
        return f"{SCHEME}{self.name}"

    @property
    def title(self) -> str:
        """Return its first heading."""
        with self.path.open(encoding="utf-8") as file:
            return file.readline().lstrip("# ").rstrip()


@cache
def docs_pages() -> dict[str, DocsPage]:
    """Return every page by its address.

    >>> docs_pages()["oomless://docs/memory"].title
    'What lies on a card'
    """
    found = (DocsPage(path.stem, path) for place in PLACES for path in sorted(place.glob("*.md")))
    return {page.uri: page for page in found}


def docs_text(uri: str) -> str:
    """Return a page as Markdown.

    >>> docs_text("oomless://docs/memory").splitlines()[0]
    '# What lies on a card'
    """
    page = docs_pages().get(uri)
    if page is None:
        raise UsageError(f"no page {uri[:80]!r}", did_you_mean(uri[:80], list(docs_pages())))
    return page.path.read_text(encoding="utf-8")


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
