"""Workers in lanes: short questions do not wait for long ones, and no question holds a worker for ever."""

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress

from ..errors import OomlessError
from .question import Pairs, Reply, refusal
from .sent import PostedFile

BUSY = OomlessError("too many questions at once", "ask again in a moment")
CRASHED = OomlessError(
    "the question needed more memory than the server gives one", "ask it on the command line"
)


class Workers:
    """A few processes that answer one question each at a time; started when they are needed."""

    def __init__(self, count: int, most_waiting: int, seconds: float) -> None:
        self.free: list[Process] = []
        self.slots = asyncio.Semaphore(count)
        self.most_waiting, self.waiting = most_waiting, 0
        self.seconds = seconds
        self.alive: set[Process] = set()

    async def ask(
        self, command: str, pairs: Pairs, files: tuple[PostedFile, ...] = (), content: bytes = b""
    ) -> Reply:
        """Return the reply of the next free worker, or the error of one that took too long."""
        if self.waiting >= self.most_waiting:
            return refusal(BUSY, 503)
        self.waiting += 1
        try:
            async with self.slots:
                return await self._asked(command, pairs, files, content)
        finally:
            self.waiting -= 1

    async def _asked(
        self, command: str, pairs: Pairs, files: tuple[PostedFile, ...], content: bytes
    ) -> Reply:
        worker = await self.started()
        head = json.dumps([command, list(pairs), list(files), len(content)]).encode() + b"\n"
        finished = False
        try:
            async with asyncio.timeout(self.seconds):
                found = await _exchange(worker, head + content)
            finished = True
            return found
        except TimeoutError:
            hint = "ask it on the command line, where nothing is cut off"
            return refusal(OomlessError(f"no answer within {self.seconds:g} s", hint), 422)
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            return refusal(CRASHED, 422)
        finally:
            if finished:
                self.free.append(worker)
            else:
                await self.end(worker)

    async def started(self) -> Process:
        """Return a worker that is alive: one that waits, or a new one."""
        while self.free:
            worker = self.free.pop()
            if worker.returncode is None:
                return worker
            self.alive.discard(worker)
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "oomless.web.worker", stdin=PIPE, stdout=PIPE, stderr=DEVNULL
        )
        self.alive.add(worker)
        return worker

    async def warm(self) -> None:
        """Start one worker before it is needed."""
        self.free.append(await self.started())

    async def end(self, worker: Process) -> None:
        """Stop a worker, whatever it does."""
        self.alive.discard(worker)
        with suppress(ProcessLookupError):
            worker.kill()
        await worker.wait()

    async def close(self) -> None:
        """Stop all of them."""
        for worker in list(self.alive):
            await self.end(worker)


async def _exchange(worker: Process, message: bytes) -> Reply:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(message)
    await worker.stdin.drain()
    line = await worker.stdout.readline()
    if not line:
        raise ConnectionError
    status, size = json.loads(line)
    return Reply(status, await worker.stdout.readexactly(size))
