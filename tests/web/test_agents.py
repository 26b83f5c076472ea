"""A scripted agent: lists the tools, asks wrongly, is told how, and walks from a question to launch files."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp", reason="the extra `mcp` is not installed")

from web_questions import pairs_of

from command import call, environment
from oomless.web.agents import input_schema
from oomless.web.openapi import parameters
from oomless.web.question import COMMANDS

DOCS = Path(__file__).parents[2] / "docs" / "en"


def with_agent(script: Callable[[Any], Awaitable[None]]) -> None:
    """Run a script against `oomless mcp` as a process of its own, over stdio."""
    from mcp.client.session import ClientSession
    from mcp.client.stdio import StdioServerParameters, stdio_client

    async def run() -> None:
        server = StdioServerParameters(
            command=sys.executable, args=["-m", "oomless", "mcp"], env=environment()
        )
        async with stdio_client(server) as (incoming, outgoing), ClientSession(incoming, outgoing) as session:
            await session.initialize()
            await script(session)

    asyncio.run(run())


async def asked(session: Any, name: str, **arguments: Any) -> tuple[bool, str]:
    found = await session.call_tool(name, {key.replace("_", "-"): value for key, value in arguments.items()})
    return bool(found.is_error), found.content[0].text


def test_tools_are_the_commands_with_typed_inputs() -> None:
    async def script(session: Any) -> None:
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
        assert set(tools) == set(COMMANDS)
        for name, tool in tools.items():
            assert tool.description
            assert tool.input_schema == input_schema(name)
            assert {each["name"] for each in parameters(name)} <= set(tool.input_schema["properties"])

    with_agent(script)


def test_an_agent_walks_from_a_question_to_launch_files() -> None:
    """Which hardware for V4-Flash at 64 x 32K under 40 USD an hour? In at most six calls."""

    async def script(session: Any) -> None:
        calls = 0

        async def ask(name: str, **arguments: Any) -> tuple[bool, str]:
            nonlocal calls
            calls += 1
            return await asked(session, name, **arguments)

        failed, text = await ask("plan", model="deepseek-v4-flsh", context=32768, concurrency=64)
        assert failed
        assert "deepseek-v4-flash" in json.loads(text)["error"]["hint"]
        limits = {"context": 32768, "concurrency": 64, "budget_usd_per_hour": 40}
        failed, text = await ask("plan", model="deepseek-v4-flash", **limits)
        row = json.loads(text)["rows"][0]
        assert not failed
        assert row["usd_per_hour"]["value"] <= 40
        assert row["launch"]["command"]
        words = row["estimate"]
        failed, text = await ask(words[0], **dict(pairs_of(words)))
        assert not failed
        assert text == call(*words, "--json").out
        assert json.loads(text)["verdict"] == row["verdict"]
        failed, text = await ask("gpus", pattern=row["gpu"].partition(":")[0])
        assert json.loads(text)["rows"]
        assert calls <= 6

    with_agent(script)


def test_docs_are_resources() -> None:
    async def script(session: Any) -> None:
        from mcp import MCPError

        listed = (await session.list_resources()).resources
        files = list(DOCS.glob("*.md"))
        assert {str(each.uri) for each in listed} == {f"oomless://docs/{file.stem}" for file in files}
        assert all(each.title for each in listed)
        for file in (DOCS / "plan.md", DOCS / "memory.md"):
            found = await session.read_resource(f"oomless://docs/{file.stem}")
            assert found.contents[0].text == file.read_text(encoding="utf-8")
        for uri in ("oomless://docs/../../etc/passwd", "oomless://docs/memry", "file:///etc/passwd"):
            with pytest.raises(MCPError, match="no page"):
                await session.read_resource(uri)

    with_agent(script)


def test_the_same_json_as_the_command_line() -> None:
    async def script(session: Any) -> None:
        for words, arguments in (
            (["infer", "deepseek-r1", "--gpu", "h20:8"], {"model": "deepseek-r1", "gpu": "h20:8"}),
            (
                ["infer", "deepseek-r1", "--gpu", "h200:8", "--tp", "8", "--enforce-eager"],
                {"model": "deepseek-r1", "gpu": "h200:8", "tp": 8, "enforce_eager": True},
            ),
            (
                ["plan", "deepseek-r1", "--gpu", "h200", "--gpu", "b200"],
                {"model": "deepseek-r1", "gpu": ["h200", "b200"]},
            ),
            (["engines"], {}),
            (["cost", "--gpu", "h100:8", "--utilization", "0.5"], {"gpu": "h100:8", "utilization": 0.5}),
        ):
            failed, text = await asked(session, words[0], **arguments)
            assert (failed, text) == (False, call(*words, "--json").out)

    with_agent(script)


def test_wrong_calls_get_the_hints_of_the_command_line() -> None:
    async def script(session: Any) -> None:
        for words, arguments in (
            (
                ["infer", "deepseek-r1", "--gpu", "h20:8", "--tp", "0"],
                {"model": "deepseek-r1", "gpu": "h20:8", "tp": 0},
            ),
            (["infer", "deepseek-r1"], {"model": "deepseek-r1"}),
        ):
            failed, text = await asked(session, words[0], **arguments)
            assert failed
            assert json.loads(text) == json.loads(call(*words, "--json").err)
        failed, text = await asked(session, "reconcile", log="nothing of an engine")
        assert failed
        assert "not found" in json.loads(text)["error"]["message"]
        failed, text = await asked(session, "infer", model="/etc/passwd", gpu="h200")
        assert failed
        assert "no file of this machine" in json.loads(text)["error"]["message"]

    with_agent(script)


def test_over_http_only_this_machine_is_answered() -> None:
    pytest.importorskip("httpx", reason="the tests' client is not installed")
    from starlette.testclient import TestClient

    from oomless.web.agents import agent_server
    from oomless.web.gate import Gate

    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    }
    accept = {"Accept": "application/json, text/event-stream"}
    app = Gate(agent_server().streamable_http_app(json_response=True))
    with TestClient(app, base_url="http://127.0.0.1:8766") as client:
        answer = client.post("/mcp", json=hello, headers=accept)
        assert answer.status_code == 200, answer.text
        assert answer.json()["result"]["serverInfo"]["name"] == "oomless"
        assert client.post("/mcp", json=hello, headers={**accept, "Host": "evil.example"}).status_code == 403
        origin = {"Origin": "http://evil.example"}
        assert client.post("/mcp", json=hello, headers={**accept, **origin}).status_code == 403
