"""A recipe for another tool, and what its run needs, for people."""

from typing import TYPE_CHECKING

from ..units import format_bytes

if TYPE_CHECKING:
    from ..compress.recipe import ToolRecipe


def needs_line(found: "ToolRecipe") -> str:
    """Return the memory and the time of the run, or that nobody measured them."""
    if found.needs is None:
        return f"what a run of {found.tool} needs for this format was not measured"
    return (
        f"with nearest rounding about {format_bytes(found.needs.host_bytes)} of host memory and "
        f"{found.needs.cpu_s:,.0f} CPU seconds; a search on texts comes on top\n"
        f"source: {found.needs.source}"
    )


def recipe_text(found: "ToolRecipe") -> str:
    """Return all files, each under its name."""
    parts = [f"# {name}\n{content}" for name, content in found.files.items()]
    return "\n".join([*parts, f"# {needs_line(found)}\n"])
