"""Dialects: what metering must know of a provider's language, in one small object for each kind of call."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import msgspec

from tokenwell.core.usage import Usage
from tokenwell.gateway.asking import AiRequest, Labels
from tokenwell.gateway.multipart import MULTIPART
from tokenwell.gateway.telling import Telling

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What reading JSON of a provider's may raise: it is none, of another shape, of other bytes than text has, or nested too deeply."""

JSON_ONLY = (b"application/json",)
FORM = (b"application/json", MULTIPART)


class Reported(NamedTuple):
    """The usage a provider reported: in pools that do not overlap, and as it came."""

    usage: Usage
    raw: dict[str, Any]


class Answer(Protocol):
    """A whole answer, as far as it matters for the charge."""

    @property
    def answer_id(self) -> str:
        """What the provider calls it, where it can be asked for again."""

    @property
    def has_failed(self) -> bool:
        """Whether it is an error told in place of an answer."""

    def reported(self) -> Reported | None:
        """Return the usage it reports, None where there is none that makes sense."""

    def text_bytes(self) -> int:
        """Return how many bytes the model said in it."""


class Stream(Protocol):
    """A streamed answer on its way through.

    `answer_id` is what the provider calls it, where it can be asked for again. `closing` is its last event, kept back so that a
    receipt can be put before it; once there is one, nothing else goes on. `passed_bytes` have gone on so far.
    """

    answer_id: str
    closing: bytes
    passed_bytes: int

    @property
    def reported(self) -> Reported | None:
        """The usage that has been reported so far, the latest where there were several."""

    @property
    def begun(self) -> Reported | None:
        """A usage that was reported before the answer ended: what it says of the prompt holds, what it says of the answer may have
        grown since."""

    def feed(self, data: bytes) -> bytes:
        """Take what came from the provider and return what goes on at once. Raises UpstreamError if an event has no end."""

    def end(self) -> bytes:
        """Return what goes on when the provider has ended without the empty line that ends its last event."""

    def cut(self, used: Usage) -> bytes:
        """End the answer as the provider does where its length is at a limit: return what goes on, and set `closing`."""

    def spoken(self) -> tuple[int, int]:
        """Return how much of the answer has passed: its bytes of text, and the pieces they came in."""

    def plain_bytes(self, data: bytes) -> int:
        """Return how much of what came from the provider is whole events that only say something, from its beginning on."""

    def take(self, data: bytes, most_tokens: int) -> int | None:
        """Take events that only say something, which go on as they are, if no more than so many tokens have been said with them.

        Returns how many have been said then; None where they were not taken.
        """


class Dialect(Protocol):
    """A kind of call: where it goes, what it asks for, and how its answers are read."""

    @property
    def path(self) -> str:
        """Where it is sent, under the provider's base URL."""

    @property
    def telling(self) -> Telling:
        """How errors are told."""

    @property
    def media_types(self) -> tuple[bytes, ...]:
        """The kinds of body it takes."""

    def parse(self, body: bytes, labels: Labels, content_type: bytes) -> AiRequest:
        """Return what a body asks for. The labels given go before the body's own. Raises RequestInvalid."""

    def read(self, body: bytes) -> Answer | None:
        """Return a whole answer, None if it is none."""

    def stream(self, request: AiRequest) -> Stream:
        """Return what reads the streamed answer to a request."""
