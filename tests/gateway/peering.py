"""What others wrote, installed where tests find it and run as processes of their own: clients and mocks of providers."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.gateway import messages, responses
from tests.gateway.upstreams import DONE, USAGE, Reply, Request, chunk, failing, plain, streaming

PLACE = Path(__file__).parent / "peers"
LOCKED = Path(__file__).parents[2] / "requirements" / "peers.txt"
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bonn"}'}}


def environment_of_python_peers() -> Path:
    """Return where the Python packages of others are: an environment in ours, made from their lock if it is not there yet."""
    place = Path(sys.prefix) / "peers"
    made = place / "made-from"
    with (Path(sys.prefix) / "peers.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists() or made.read_bytes() != LOCKED.read_bytes():
            subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
            install = [place / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
            subprocess.run([*install, "--require-hashes", "-r", LOCKED], check=True, timeout=600)
            made.write_bytes(LOCKED.read_bytes())
    return place


def install_node_peers(place: Path) -> None:
    """Install the packages of others for node in a directory."""
    for file in PLACE.iterdir():
        (place / file.name).write_bytes(file.read_bytes())
    # Only npm wants its lock under that name.
    (place / "locked.json").rename(place / "package-lock.json")
    command = ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error", "--prefer-offline"]
    subprocess.run(command, cwd=place, check=True, timeout=240)


async def run(*command: str | Path, cwd: Path | None = None, **environ: str) -> str:
    """Run a program to its end; returns what it printed."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env=os.environ | environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, error = await asyncio.wait_for(process.communicate(), 240)
    assert process.returncode == 0, error.decode()
    return out.decode()


@asynccontextmanager
async def told_address(*command: str, cwd: Path) -> AsyncIterator[str]:
    """Run a server that prints its address and stops when its input ends, for as long as the block."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=cwd, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield (await asyncio.wait_for(process.stdout.readline(), 60)).decode().strip()
    finally:
        process.stdin.close()
        await asyncio.wait_for(process.wait(), 60)


@asynccontextmanager
async def listening(*command: str | Path) -> AsyncIterator[str]:
    """Run a server that takes `--port`, for as long as the block; yields its address once it listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(*command, "--port", str(port), stdout=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(120):
            while True:
                assert process.returncode is None
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except ConnectionError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    break
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 60)


async def answer_anything(request: Request, reply: Reply) -> None:
    """Answer whatever the scripts of calls ask a provider for."""
    body = json.loads(request.body)
    if request.path == "/v1/messages":
        answering = messages.saying("Hello", " there")
    elif request.path == "/v1/responses":
        answering = responses.responding("Hello", " there")
    elif request.path == "/v1/embeddings":
        vector = {"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}
        told: dict[str, Any] = {"object": "list", "data": [vector], "model": "e", "usage": {"prompt_tokens": 2, "total_tokens": 2}}
        answering = failing(200, json.dumps(told).encode())
    elif body["model"] == "tool-1":
        message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
        answering = plain(choices=[{"index": 0, "message": message, "finish_reason": "tool_calls"}])
    elif body["model"] == "object-1":
        answering = plain('{"city":"Bonn"}')
    else:
        ended = chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
        said = [chunk("Hello"), chunk(" there"), ended, chunk(usage=USAGE), DONE]
        answering = streaming(said) if body.get("stream") else plain("Hello there")
    await answering(request, reply)
