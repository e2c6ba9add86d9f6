"""A provider for measuring: answers from bytes made beforehand, at once, or an event every so many milliseconds."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import httptools

CHUNKS = 50

_WORDS = ("The quick brown fox jumps over the lazy dog and then it sleeps in the warm sun until noon. " * 3).split()
_USAGE = b'{"prompt_tokens":24,"completion_tokens":%d,"total_tokens":%d,"prompt_tokens_details":{"cached_tokens":0}}'
_HEAD = b'{"id":"chatcmpl-1","object":"chat.completion%s","created":1700000000,"model":"mock",'
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_STREAMS = re.compile(rb'"stream":\s*true')
_PACE = re.compile(rb'"pace":(\d+),"events":(\d+)')


def _usage(completion_tokens: int) -> bytes:
    return _USAGE % (completion_tokens, 24 + completion_tokens)


def _plain_answer() -> bytes:
    text = " ".join(_WORDS[:CHUNKS]).encode()
    choice = b'"choices":[{"index":0,"message":{"role":"assistant","content":"%s"},"finish_reason":"stop"}],"usage":%s}' % (
        text,
        _usage(CHUNKS),
    )
    body = _HEAD % b"" + choice
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


def _word(number: int) -> bytes:
    choice = b'"choices":[{"index":0,"delta":{"content":" %s"},"finish_reason":null}],"usage":null}'
    return _chunked(_HEAD % b".chunk" + choice % _WORDS[number % len(_WORDS)].encode())


def _end(words: int) -> bytes:
    return _chunked(_HEAD % b".chunk" + b'"choices":[],"usage":%s}' % _usage(words)) + _chunked(b"[DONE]") + b"0\r\n\r\n"


def _chunked(data: bytes) -> bytes:
    event = b"data: %s\n\n" % data
    return b"%x\r\n%s\r\n" % (len(event), event)


def request(port: int, secret: str, *, streams: bool = False, pace_ms: int = 0, events: int = CHUNKS) -> bytes:
    """Return a whole request; with `pace_ms`, for a stream of so many events with that between them."""
    body = b'{"model":"mock","messages":[{"role":"system","content":"You are a helpful assistant."},'
    body += b'{"role":"user","content":"Tell me about the fox, in fifty words."}],"max_tokens":%d' % (4 * events)
    if pace_ms:
        body += b',"pace":%d,"events":%d' % (pace_ms, events)
    body += b',"stream":true}' if streams else b"}"
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n"
    )
    return (head % (port, secret)).encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


class Provider(asyncio.Protocol):
    """Answers every request: a stream where one is asked for, at the pace that is asked for, else at once."""

    plain = _plain_answer()
    stream = _STREAM_HEAD + b"".join(_word(number) for number in range(CHUNKS)) + _end(CHUNKS)
    words = tuple(_word(number) for number in range(len(_WORDS)))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin a connection."""
        self.transport: Any = transport
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Take what is asked for."""
        self.body += body

    def on_message_complete(self) -> None:
        """Answer."""
        body, self.body = self.body, b""
        pace = _PACE.search(body)
        if pace is not None:
            self.transport.write(_STREAM_HEAD)
            self._speak(asyncio.get_running_loop().time(), int(pace[1]) / 1000, 0, int(pace[2]))
        else:
            self.transport.write(self.stream if _STREAMS.search(body) else self.plain)

    def _speak(self, began: float, pace_seconds: float, number: int, events: int) -> None:
        if self.transport.is_closing():
            return
        if number == events:
            self.transport.write(_end(events))
            return
        self.transport.write(self.words[number % len(self.words)])
        due = began + pace_seconds * (number + 1)
        asyncio.get_running_loop().call_at(due, self._speak, began, pace_seconds, number + 1, events)
