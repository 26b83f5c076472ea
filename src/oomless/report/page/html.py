"""HTML by construction: what is no `Html` is text, and is escaped."""

import re
from collections.abc import Iterable
from html import escape

VOID = ("input", "meta", "link", "br", "hr")


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def el(name: str, /, *children: object, **attributes: object) -> Html:
    """Return an element. A name of an attribute loses a `_` at its end, and other `_` are dashes; None and
    False leave it out.

    >>> el("p", "a < b", el("b", "c"), class_="note", hidden=False)
    '<p class="note">a &lt; b<b>c</b></p>'
    """
    shown = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escape(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    head = f"<{name}{shown}>"
    return Html(head if name in VOID else f"{head}{join(children)}</{name}>")


def join(children: Iterable[object]) -> Html:
    """Return children one after the other; None is nothing, what has children of its own is gone through."""
    parts = []
    for child in children:
        if child is None or child is False:
            continue
        if isinstance(child, Html):
            parts.append(str(child))
        elif isinstance(child, str):
            parts.append(escape(child))
        elif isinstance(child, Iterable):
            parts.append(str(join(child)))
        else:
            parts.append(escape(str(child)))
    return Html("".join(parts))


def coded(text: str) -> Html:
    """Return a text in which what stands between backticks is code.

    >>> coded("as `--tp 8`")
    'as <code>--tp 8</code>'
    """
    parts = text.split("`")
    return join(el("code", part) if index % 2 else part for index, part in enumerate(parts))


def whole_words(text: str) -> Html:
    """Return a command whose words stay in one piece where a line is folded: a browser folds at any dash.

    >>> whole_words("vllm --tp 8")
    'vllm <span class="word">--tp</span> 8'
    """
    parts = re.split(r"(\s+)", text)
    return join(el("span", part, class_="word") if "-" in part else part for part in parts)


def table(
    head: Iterable[object], rows: Iterable[Iterable[object]], caption: str = "", **attributes: object
) -> Html:
    """Return a table in a frame that scrolls by itself; the first cell of a row names it. A head stands where
    its column's values do."""
    head, rows = list(head), [list(row) for row in rows]
    numbers = [_is_number(cell) for cell in rows[0]] if rows else []
    aligned = [*numbers, *[False] * (len(head) - len(numbers))]
    heads = [
        el("th", each, scope="col", class_="num" if right else None)
        for each, right in zip(head, aligned, strict=False)
    ]
    body = []
    for row in rows:
        first, *rest = row
        cells = [el("th", first, scope="row"), *(each if _is_cell(each) else el("td", each) for each in rest)]
        body.append(el("tr", cells))
    return el(
        "div",
        el(
            "table",
            el("caption", caption) if caption else None,
            el("thead", el("tr", heads)),
            el("tbody", body),
            **attributes,
        ),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label=caption or None,
    )


def _is_number(value: object) -> bool:
    return isinstance(value, Html) and value.startswith('<td class="num"')


def _is_cell(value: object) -> bool:
    return isinstance(value, Html) and value.startswith("<td")


def number(text: str, sort: float | None = None) -> Html:
    """Return a cell of a number; `sort` is what a sorted table compares."""
    return el("td", text, class_="num", data_sort=None if sort is None else f"{sort:.12g}")


def figure(picture: Html, label: str) -> Html:
    """Return a picture in a frame that scrolls by itself where a screen is narrow."""
    return el("figure", picture, tabindex="0", aria_label=label)


def fold(title: object, *content: object, **attributes: object) -> Html:
    """Return something that opens."""
    return el("details", el("summary", title), content, **attributes)


def notes(title: str, lines: Iterable[str]) -> Html | None:
    """Return notes."""
    items = [el("li", coded(line)) for line in lines]
    return fold(f"{title} ({len(items)})", el("ul", items), class_="notes") if items else None
