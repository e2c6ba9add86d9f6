"""A stand-in for Stripe: an HTTP server that makes Checkout sessions, a page to pay at, and events signed as Stripe signs them.

What it takes and answers follows Stripe's documentation of API version 2026-10-28: forms with brackets, `Idempotency-Key` whose
repetition gives the first answer, errors as `{"error": {"type": …}}`, and `Stripe-Signature: t=…,v1=…` over `t.body`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

from tokenwell.service.supply.stripe_checkout import StripeCheckout

KEY = "sk_test_51Tokenwell"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def signature_of(body: bytes, *, secret: str = SECRET, at: float | None = None) -> str:
    """Return the header that Stripe signs a body with."""
    instant = int(time.time() if at is None else at)
    digest = hmac.new(secret.encode(), f"{instant}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={instant},v1={digest},v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39"


class StripeServer:
    """Checkout sessions by id, and what was asked. `fails` makes it answer with that status; `webhooks` is where a payment made on
    its page is told."""

    def __init__(self) -> None:
        self.sessions: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.fails = 0
        self.webhooks = ""
        self._by_key: dict[str, tuple[dict[str, str], dict[str, Any]]] = {}
        self._events = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                """Say nothing."""

            def do_GET(self) -> None:
                outer.answer(self, {})

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                outer.answer(self, dict(parse_qsl(self.rfile.read(length).decode())))

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, handler: BaseHTTPRequestHandler, form: dict[str, str]) -> None:
        """Answer one request."""
        self.asked.append((handler.command, handler.path, form))
        if handler.path.startswith("/pay/"):
            self._show_page(handler)
        elif self.fails:
            _send(handler, self.fails, {"error": {"type": "api_error", "message": "It is our fault."}})
        elif handler.headers.get("Authorization") != f"Bearer {KEY}":
            _send(handler, 401, {"error": {"type": "invalid_request_error", "message": "Invalid API Key provided: sk_tes…"}})
        elif handler.command == "POST" and handler.path == "/v1/checkout/sessions":
            self._create(handler, form)
        elif (session := self.sessions.get(handler.path.removeprefix("/v1/checkout/sessions/"))) is not None:
            _send(handler, 200, session)
        else:
            _send(handler, 404, {"error": {"type": "invalid_request_error", "message": "No such checkout.session"}})

    def _create(self, handler: BaseHTTPRequestHandler, form: dict[str, str]) -> None:
        key = handler.headers["Idempotency-Key"]
        if key in self._by_key:
            first, session = self._by_key[key]
            if first != form:
                error = {"type": "idempotency_error", "message": "Keys for idempotent requests can only be used with the same"}
                return _send(handler, 400, {"error": error})
            return _send(handler, 200, session)
        session = self._made(form)
        self.sessions[session["id"]] = session
        self._by_key[key] = (form, session)
        return _send(handler, 200, session)

    def _made(self, form: dict[str, str]) -> dict[str, Any]:
        number = len(self.sessions) + 1
        session_id = f"cs_test_a1{number:020}"
        price, currency = int(form["line_items[0][price_data][unit_amount]"]), form["line_items[0][price_data][currency]"]
        return {
            "id": session_id, "object": "checkout.session", "amount_subtotal": price, "amount_total": price, "currency": currency,
            "automatic_tax": {"enabled": False, "status": None}, "cancel_url": form["cancel_url"],
            "client_reference_id": form["client_reference_id"], "created": int(time.time()), "customer": None,
            "expires_at": int(time.time()) + 86_400, "livemode": False,
            "metadata": {name[9:-1]: value for name, value in form.items() if name.startswith("metadata[")},
            "mode": form["mode"], "payment_intent": None, "payment_method_types": ["card", "sepa_debit"],
            "payment_status": "unpaid", "status": "open", "success_url": form["success_url"],
            "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
            "url": f"{self.url}/pay/{session_id}",
        }  # fmt: skip

    def pay(self, session_id: str, *, at_once: bool = True) -> dict[str, Any]:
        """Let somebody pay; `at_once` is false for a way of paying that takes days. Returns the session."""
        number = session_id[-4:]
        status = "paid" if at_once else "unpaid"
        self.sessions[session_id] |= {
            "status": "complete",
            "payment_status": status,
            "payment_intent": f"pi_3Px{number}",
            "url": None,
        }
        return self.sessions[session_id]

    def event(self, kind: str, about: dict[str, Any], **changed: Any) -> tuple[bytes, str]:
        """Return an event and its signature."""
        self._events += 1
        told = {
            "id": f"evt_1Px{self._events:06}", "object": "event", "api_version": "2026-10-28.endive", "created": int(time.time()),
            "data": {"object": {**about, **changed}}, "livemode": False, "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None}, "type": kind,
        }  # fmt: skip
        body = json.dumps(told, indent=2).encode()
        return body, signature_of(body)

    def charge(self, session_id: str, refunded_minor: int) -> dict[str, Any]:
        """Return the charge of a session that was paid, of which some was given back."""
        session = self.sessions[session_id]
        return {
            "id": "ch_3Px", "object": "charge", "amount": session["amount_total"], "amount_refunded": refunded_minor,
            "currency": session["currency"], "metadata": session["metadata"], "payment_intent": session["payment_intent"],
            "refunded": refunded_minor == session["amount_total"], "status": "succeeded",
        }  # fmt: skip

    def dispute(self, session_id: str, status: str) -> dict[str, Any]:
        """Return the dispute, which is Stripe's word for a chargeback, of a session that was paid."""
        session = self.sessions[session_id]
        return {
            "id": "du_1Px", "object": "dispute", "amount": session["amount_total"], "charge": "ch_3Px",
            "currency": session["currency"], "metadata": {}, "payment_intent": session["payment_intent"],
            "reason": "fraudulent", "status": status,
        }  # fmt: skip

    def _show_page(self, handler: BaseHTTPRequestHandler) -> None:
        session = self.sessions[handler.path.removeprefix("/pay/")]
        if handler.command == "GET":
            back = session["cancel_url"]
            page = f"<!doctype html><title>Pay</title><link rel=icon href=data:,><h1>{session['amount_total']}</h1>"
            page += f'<form method="post"><button>Pay</button></form><a href="{back}">Back</a>'
            return _send(handler, 200, page)
        body, signature = self.event("checkout.session.completed", self.pay(session["id"]))
        tell(self.webhooks, body, signature)
        handler.send_response(303)
        handler.send_header("Location", session["success_url"])
        handler.send_header("Content-Length", "0")
        return handler.end_headers()


def tell(url: str, body: bytes, signature: str) -> int:
    """Send an event to a webhook; returns the status it is answered with."""
    headers = {"Content-Type": "application/json; charset=utf-8", "Stripe-Signature": signature}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=30) as answer:
        return int(answer.status)


def _send(handler: BaseHTTPRequestHandler, status: int, answer: dict[str, Any] | str) -> None:
    kind, text = ("text/html", answer) if isinstance(answer, str) else ("application/json", json.dumps(answer))
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Request-Id", "req_Px")
    handler.send_header("Content-Length", str(len(text.encode())))
    handler.end_headers()
    handler.wfile.write(text.encode())


def checkout_at(server: StripeServer, *secrets: str, address: str = "https://ai.example.com") -> StripeCheckout:
    """Return a checkout that asks a server, and believes what it signs."""
    return StripeCheckout(url=server.url, secret_key=KEY, secrets=(*secrets, SECRET), address=address)


@contextmanager
def stripe_server() -> Iterator[StripeServer]:
    """Give a server of one's own."""
    server = StripeServer()
    try:
        yield server
    finally:
        server.close()
