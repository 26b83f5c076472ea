"""The server of the page: Starlette on loopback. It reads requests, asks a worker, answers with its bytes,
and keeps what was answered a moment ago."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING

from ..errors import OomlessError, UsageError
from ..files import json_text
from ..report.language import LANGUAGES, Language, words_of
from .gate import Gate
from .lanes import Workers
from .page import ASSETS, LATER, asset, shell
from .question import ASKED, COMMANDS, Reply, refusal
from .sent import PostedFile, sent_of

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

MAX_BODY_BYTES = 64 << 20
MAX_ADDRESS_BYTES = 32 << 10
BODY_SECONDS = 30.0
QUICK_SECONDS, LONG_SECONDS = 20.0, 60.0
LONG = ("plan", "tune", "guide", "reconcile", "claims", "models")
"""Commands that take long: they wait for each other, and nothing else waits for them."""
STATIC_ALONE = ("pyodide.js", "worker.js", "package.mjs", "offline.js", "first.js")
"""Files of the page that a server has no use for."""
SIMULATES = ("arrival-rate", "arrival_rate", "workload")
"""What makes a question of speed a long one."""


class Lanes:
    """Workers for short questions, and one for long ones."""

    def __init__(self) -> None:
        self.quick = Workers(min(2, os.cpu_count() or 1), 200, QUICK_SECONDS)
        self.long = Workers(1, 8, LONG_SECONDS)

    async def ask(
        self,
        command: str,
        pairs: list[tuple[str, str]],
        files: tuple[PostedFile, ...] = (),
        content: bytes = b"",
    ) -> Reply:
        """Return the reply of a worker of the right lane."""
        name = command.rpartition("/")[2]
        is_long = name in LONG or (name == "speed" and any(each in SIMULATES for each, _ in pairs))
        lane = self.long if is_long else self.quick
        return await lane.ask(command, pairs, files, content)

    async def close(self) -> None:
        """Stop every worker."""
        await self.quick.close()
        await self.long.close()


def application() -> "Starlette":
    """Return the application; the extra `web` must be there."""
    from starlette.applications import Starlette
    from starlette.routing import Route

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.lanes = Lanes()
        app.state.remembered = Remembered(app.state.lanes.ask)
        await app.state.lanes.quick.warm()
        yield
        await app.state.lanes.close()

    methods = {"reconcile": ["POST"], **{command: ["GET", "POST"] for command in ASKED}}
    routes = [
        Route(f"/{kind}/{command}", partial(_ask, name), methods=methods.get(command, ["GET"]))
        for command in COMMANDS
        for kind, name in (("api", command), ("view", f"view/{command}"))
    ]
    routes += [
        Route(f"/later/{name}", partial(_ask, f"later/{name}"), methods=methods[name]) for name in LATER
    ]
    routes += [
        Route("/", _first),
        *(Route(f"/{language}/", partial(_shell, language)) for language in LANGUAGES),
        *(Route(f"/{name}", partial(_asset, name)) for name in ASSETS if name not in STATIC_ALONE),
        Route("/openapi.json", _openapi),
    ]
    found = Starlette(routes=routes, lifespan=lifespan, exception_handlers={404: _nothing, 405: _nothing})
    found.add_middleware(Gate)
    return found


async def _ask(command: str, request: "Request") -> "Response":
    """Answer one question."""
    pairs = request.query_params.multi_items()
    if len(request.url.query) > MAX_ADDRESS_BYTES:
        return _response(request, refusal(UsageError("the address is too long", "POST the file"), 414))
    if request.method == "POST":
        body = await _body(request)
        if isinstance(body, Reply):
            return _response(request, body)
        try:
            pairs, files = sent_of(pairs, len(body))
        except UsageError as error:
            return _response(request, refusal(error))
        return _response(request, await request.app.state.lanes.ask(command, pairs, files, body))
    return _response(request, await request.app.state.remembered.ask(command, pairs))


async def _body(request: "Request") -> bytes | Reply:
    """Return what was sent, or why it is too much or too slow."""
    import asyncio

    from starlette.requests import ClientDisconnect

    chunks, size = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                size += len(chunk)
                if size > MAX_BODY_BYTES:
                    hint = "oomless reconcile reads files of any size on the command line"
                    return refusal(OomlessError(f"more than {MAX_BODY_BYTES:,} bytes", hint), 413)
                chunks.append(chunk)
    except TimeoutError:
        return refusal(OomlessError(f"not sent within {BODY_SECONDS:g} s", "send it again"), 408)
    except ClientDisconnect:
        return refusal(OomlessError("not sent to its end", "send it again"), 400)
    return b"".join(chunks)


def _response(request: "Request", found: Reply, kind: str = "application/json") -> "Response":
    """Return a reply with its mark, or that it is the one the client has."""
    from starlette.responses import Response

    mark = f'"{sha256(found.content).hexdigest()[:32]}"'
    headers = {"ETag": mark, "Cache-Control": "no-cache"}
    if found.status == 200 and request.headers.get("if-none-match") == mark:
        return Response(status_code=304, headers=headers)
    if found.status == 503:
        headers["Retry-After"] = "1"
    return Response(found.content, found.status, headers, kind)


async def _first(request: "Request") -> "Response":
    """Send who names no language to the one that the browser, or the user of this machine, prefers."""
    from starlette.responses import RedirectResponse

    wished = request.headers.get("accept-language") or os.environ.get("OOMLESS_LANG", "")
    return RedirectResponse(f"/{words_of(wished).language}/", 302, {"Vary": "Accept-Language"})


async def _shell(language: Language, request: "Request") -> "Response":
    return _response(request, Reply(200, shell(language).encode()), "text/html; charset=utf-8")


async def _asset(name: str, request: "Request") -> "Response":
    content, kind = asset(name)
    return _response(request, Reply(200, content), kind)


async def _openapi(request: "Request") -> "Response":
    from .openapi import openapi

    return _response(request, Reply(200, (json_text(openapi()) + "\n").encode()))


async def _nothing(request: "Request", error: Exception) -> "Response":
    """Say that nothing is there, or not in this way."""
    status, headers = getattr(error, "status_code", 404), getattr(error, "headers", None) or {}
    what, hint = "nothing is there", f"there are: {', '.join(f'/api/{command}' for command in COMMANDS)}"
    if status == 405:
        what, hint = f"{request.method} is not answered", f"send {headers.get('Allow', 'GET')}"
    found = _response(request, refusal(UsageError(f"{request.url.path[:80]}: {what}", hint), status))
    found.headers.update(headers)  # Allow, which RFC 9110 asks of a 405
    return found


Question = tuple[str, tuple[tuple[str, str], ...]]
"""Command, and what stands behind the question mark of its address."""
Ask = Callable[[str, list[tuple[str, str]]], Awaitable[Reply]]
MAX_BYTES = 32 << 20
SECONDS = 10.0
"""An answer may hang on this machine (its cards, its calibration), which changes."""
MAX_QUESTION_CHARS = 2048
"""A longer address is nobody's second question."""


class Remembered:
    """Answers of the last seconds; who asks the same while one is worked out gets that one."""

    def __init__(self, ask: Ask, seconds: float = SECONDS, max_bytes: int = MAX_BYTES) -> None:
        from cachetools import TTLCache

        self._ask = ask
        self._replies: TTLCache[Question, Reply] = TTLCache(max_bytes, seconds, getsizeof=_size)
        self._running: dict[Question, asyncio.Task[Reply]] = {}

    async def ask(self, command: str, pairs: list[tuple[str, str]]) -> Reply:
        """Return the reply to a question, worked out now or a moment ago."""
        question = command, tuple(pairs)
        if sum(len(name) + len(text) for name, text in pairs) > MAX_QUESTION_CHARS:
            return await self._ask(command, pairs)
        if (found := self._replies.get(question)) is not None:
            return found
        task = self._running.get(question)
        if task is None:
            task = self._running[question] = asyncio.create_task(self._worked_out(question))
        return await asyncio.shield(task)

    async def _worked_out(self, question: Question) -> Reply:
        command, pairs = question
        try:
            found = await self._ask(command, list(pairs))
        finally:
            del self._running[question]
        if found.status == 200 and _size(found) <= self._replies.maxsize:
            self._replies[question] = found
        return found


def _size(found: Reply) -> int:
    """Bytes that an answer takes with its question, at most."""
    return len(found.content) + 2 * MAX_QUESTION_CHARS
