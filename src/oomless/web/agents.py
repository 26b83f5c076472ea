"""Tools for agents over MCP: the commands, with inputs typed by the table of options; each gives the JSON of
the command line, or its error with the same hint."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import UsageError, did_you_mean
from .docs import listed, read_page
from .openapi import SUMMARIES, parameters
from .question import COMMANDS, Reply, refusal
from .sent import PostedFile
from .server import Lanes

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

INSTRUCTIONS = (
    "GPU memory of language models: whether a model serves (infer) or trains (train) on given cards, which "
    "cards hold a load (plan), the best flags (tune), how fast (speed), buy or rent (cost), what a log says "
    "(reconcile). Bytes are integers. verdict is fits, tight or does_not_fit; changes lists flags that would "
    "help. A row of plan has the command and files that start it (launch). models and gpus list known names. "
    "The documentation is there as resources: oomless://docs/memory says what lies on a card."
)
LOG = "log"
"""What holds the text of a log, in place of a file."""


def input_schema(command: str) -> dict[str, Any]:
    """Return what a tool takes, as JSON Schema.

    >>> schema = input_schema("infer")["properties"]["tp"]
    >>> schema["type"], schema["minimum"], schema["maximum"]
    ('integer', 1, 65536)
    """
    properties = {
        each["name"]: {**each["schema"], "description": each["description"]} for each in parameters(command)
    }
    needed = ["model"] if command in ("train", "speed") else []
    if command == "reconcile":
        text = {"type": "string", "minLength": 1, "description": "The text of the log, or of the error."}
        properties, needed = {LOG: text, **properties}, [LOG]
    found: dict[str, Any] = {"type": "object", "properties": properties}
    return {**found, "required": needed} if needed else found


def pairs_of(arguments: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the arguments of a tool as names and texts of an address.

    >>> pairs_of({"model": "deepseek-r1", "tp": 8, "enforce-eager": True, "offline": False})
    [('model', 'deepseek-r1'), ('tp', '8'), ('enforce-eager', '')]
    """
    found = []
    for name, value in arguments.items():
        for each in value if isinstance(value, list) else [value]:
            if each is None or each is False:
                continue
            text = "" if each is True else each if isinstance(each, str) else json.dumps(each)
            found.append((name.replace("_", "-"), text))
    return found


async def called(lanes: Lanes, name: str, arguments: Mapping[str, Any]) -> Reply:
    """Return the reply to one call of a tool."""
    if name not in COMMANDS:
        return refusal(UsageError(f"unknown tool {name[:60]!r}", did_you_mean(name[:60], list(COMMANDS))))
    rest = dict(arguments)
    log = str(rest.pop(LOG, "")) if name == "reconcile" else ""
    content = log.encode()
    files = (PostedFile("server.log", len(content), len(content)),) if log else ()
    return await lanes.ask(name, pairs_of(rest), files, content)


def agent_server() -> "Server[Lanes]":
    """Return the server of the tools; the extra `mcp` must be there."""
    import mcp_types as types
    from mcp.server.context import ServerRequestContext
    from mcp.server.lowlevel import Server

    @asynccontextmanager
    async def lifespan(server: Server[Lanes]) -> AsyncIterator[Lanes]:
        lanes = Lanes()
        try:
            yield lanes
        finally:
            await lanes.close()

    async def tools(
        context: ServerRequestContext[Lanes], params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        hints = types.ToolAnnotations(read_only_hint=True, idempotent_hint=True)
        return types.ListToolsResult(
            tools=[
                types.Tool(
                    name=name,
                    description=SUMMARIES[name],
                    input_schema=input_schema(name),
                    annotations=hints,
                )
                for name in COMMANDS
            ]
        )

    async def call(
        context: ServerRequestContext[Lanes], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        found = await called(context.lifespan_context, params.name, params.arguments or {})
        text = types.TextContent(text=found.content.decode())
        return types.CallToolResult(content=[text], is_error=found.status != 200)

    return Server(
        "oomless",
        version=__version__,
        instructions=INSTRUCTIONS,
        lifespan=lifespan,
        on_list_tools=tools,
        on_call_tool=call,
        on_list_resources=listed,
        on_read_resource=read_page,
    )


def serve_stdio() -> int:
    """Serve the process that started this one, until it closes its end."""
    import asyncio

    from mcp.server.stdio import stdio_server

    async def served() -> None:
        server = agent_server()
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())

    asyncio.run(served())
    return 0


def serve_http(port: int) -> int:
    """Serve /mcp on loopback, until a signal ends it."""
    from .gate import Gate
    from .serving import serve

    return serve("127.0.0.1", port, Gate(agent_server().streamable_http_app(json_response=True)), "mcp")
