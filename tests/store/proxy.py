"""A proxy before PostgreSQL that can be stopped, started again, and made to cut a connection at any byte."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy.engine import make_url

PLAIN = {"sslmode": "disable", "gssencmode": "disable"}


class Proxy:
    """Passes bytes between clients and the server. `requested` and `answered` count them, over all connections."""

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        host, port = str(parsed.query.get("host") or parsed.host or "localhost"), parsed.port or 5432
        self._unix = host.startswith("/")
        self._server: str | tuple[str, int] = str(Path(host) / f".s.PGSQL.{port}") if self._unix else (host, port)
        self._listener: socket.socket | None = None
        self._port = 0
        self._links: set[Link] = set()
        self.requested = self.answered = 0
        self.cut_request_after: int | None = None
        self.cut_answer_after: int | None = None
        self.start()
        self.url = parsed.set(host="127.0.0.1", port=self._port, query=PLAIN).render_as_string(hide_password=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Take connections, on the same port as before."""
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        """Cut all connections and refuse new ones."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.drop()

    def drop(self) -> None:
        """Cut all connections."""
        for link in list(self._links):
            link.cut()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX if self._unix else socket.AF_INET)
            try:
                server.connect(self._server)
            except OSError:
                server.close()
                client.close()
                continue
            link = Link(self, client, server)
            self._links.add(link)
            link.start()

    def pass_request(self, data: bytes) -> tuple[bytes, bool]:
        """Return how much of a request goes on, and whether the connection lives."""
        self.requested += len(data)
        data, self.cut_request_after = _shorten(data, self.cut_request_after)
        alive = self.cut_request_after != 0
        self.cut_request_after = self.cut_request_after if alive else None
        return data, alive

    def pass_answer(self, data: bytes) -> tuple[bytes, bool]:
        """Return how much of an answer goes on, and whether the connection lives."""
        self.answered += len(data)
        data, self.cut_answer_after = _shorten(data, self.cut_answer_after)
        alive = self.cut_answer_after != 0
        self.cut_answer_after = self.cut_answer_after if alive else None
        return data, alive

    def forget(self, link: Link) -> None:
        """Drop a link that was cut."""
        self._links.discard(link)


def _shorten(data: bytes, left: int | None) -> tuple[bytes, int | None]:
    return (data, None) if left is None else (data[:left], max(0, left - len(data)))


class Link:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server

    def start(self) -> None:
        """Begin to pass bytes both ways."""
        for source, sink, through in (
            (self._client, self._server, self._proxy.pass_request),
            (self._server, self._client, self._proxy.pass_answer),
        ):
            threading.Thread(target=self._pump, args=(source, sink, through), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, through: object) -> None:
        assert callable(through)
        try:
            while data := source.recv(65536):
                data, alive = through(data)
                sink.sendall(data)
                if not alive:
                    break
        except OSError:
            pass
        self.cut()

    def cut(self) -> None:
        """Close both sides."""
        self._proxy.forget(self)
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
