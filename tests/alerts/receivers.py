"""Receivers: real HTTP servers and a real mail server that remember what they were sent."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

PATIENCE_SECONDS = 60


class Request(msgspec.Struct, frozen=True):
    """What a receiver was sent."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return msgspec.json.decode(self.body)


class Receiver:
    """An HTTP server. `answer` says what it answers to a request: a status, or a status with headers."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.requests: list[Request] = []
        self.answer: Callable[[Request], int | tuple[int, dict[str, str]]] = lambda request: 204
        self.arrived = threading.Condition()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/hook"

    def wait_for(self, count: int) -> None:
        """Return once so many requests have arrived."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.requests) >= count, PATIENCE_SECONDS)

    def ids(self) -> list[str]:
        """Return the delivery ids of what arrived."""
        with self.arrived:
            return [request.headers["webhook-id"] for request in self.requests]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Run an HTTP server."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            request = Request(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            with receiver.arrived:
                receiver.requests.append(request)
                receiver.arrived.notify_all()
            answer = receiver.answer(request)
            status, headers = answer if isinstance(answer, tuple) else (answer, {})
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            pass  # a sender that was killed

    with Server(("127.0.0.1", 0), Handler) as server:
        receiver = Receiver(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()


class MailSink:
    """A mail server. `answer` says what it answers to a recipient: None takes the e-mail."""

    def __init__(self) -> None:
        self.port = 0
        self.mails: list[EmailMessage] = []
        self.answer: Callable[[str], str | None] = lambda recipient: None
        self.was_encrypted: list[bool] = []
        vars(self).update(handle_RCPT=self.take_recipient, handle_DATA=self.take_mail)  # as the library calls them

    async def take_recipient(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:
        """Take a recipient or refuse it."""
        refusal = self.answer(address)
        if refusal is not None:
            return refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def take_mail(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Remember an e-mail."""
        self.was_encrypted.append(session.ssl is not None)
        message = message_from_bytes(envelope.content or b"", policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.mails.append(message)
        return "250 queued"


@contextmanager
def mail_sink(**more: Any) -> Iterator[MailSink]:
    """Run a mail server."""
    sink = MailSink()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sink.port = listener.getsockname()[1]
    controller = Controller(sink, hostname="127.0.0.1", port=sink.port, **more)
    controller.start()
    try:
        yield sink
    finally:
        controller.stop()


def parts_of(mail: EmailMessage) -> tuple[str, str]:
    """Return the text and the HTML of an e-mail."""
    text, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert text is not None
    assert html is not None
    return text.get_content(), html.get_content()
