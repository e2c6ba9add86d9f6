"""Counting: what a request may come to before it is sent, and what was used when no provider says it.

Nobody but the provider has the model's tokenizer, so bytes are what is counted. English prose is 4 to 4.7 bytes a token with the
tokenizers in use, code 3 to 3.5, Chinese, Japanese and Korean 3 to 4.5. What is held is counted at the low end, so that it rarely
falls short; what is charged without a report is counted at the middle, so that it is fair.
"""

from __future__ import annotations

from collections.abc import Iterable

HELD_BYTES_PER_TOKEN = 3
CHARGED_BYTES_PER_TOKEN = 4

ATTACHMENT_TOKENS = 1_500
"""What an attached picture, sound or file counts as, whatever its bytes: about a large picture in detail."""

_ATTACHMENTS_FROM_BYTES = 1_000
"""A prompt shorter than this holds no attachment worth finding."""


class Prompt:
    """The size of a prompt: bytes of JSON text, less what is attached, and the number of attachments."""

    __slots__ = ("attachments", "text_bytes")

    def __init__(self, parts: Iterable[bytes]) -> None:
        self.text_bytes = 0
        self.attachments = 0
        for part in parts:
            self._add(part)

    @property
    def held_tokens(self) -> int:
        """What to hold for it, rather too much than too little."""
        return -(-self.text_bytes // HELD_BYTES_PER_TOKEN) + self.attachments * ATTACHMENT_TOKENS

    @property
    def charged_tokens(self) -> int:
        """What to charge for it when the provider reports nothing; at least 1."""
        return max(1, -(-self.text_bytes // CHARGED_BYTES_PER_TOKEN)) + self.attachments * ATTACHMENT_TOKENS

    def _add(self, part: bytes) -> None:
        # An escape \uXXXX is six bytes for a character of two or three.
        self.text_bytes += len(part) - 3 * part.count(b"\\u")
        attached = 0
        if len(part) >= _ATTACHMENTS_FROM_BYTES:
            for marker in (b";base64,", b'"data":"', b'"data": "'):
                attached += self._leave_out(part, marker)
        # By its address, OpenAI names a picture twice, in its part's type and in its key; Anthropic by a type of its own.
        named = part.count(b'"image_url"') // 2 + part.count(b'"type":"url"') + part.count(b'"type": "url"')
        self.attachments += max(attached, named)

    def _leave_out(self, part: bytes, marker: bytes) -> int:
        """Take out of the text what follows each marker up to the closing quote; return how many there were."""
        found = 0
        start = part.find(marker)
        while start >= 0:
            start += len(marker)
            end = part.find(b'"', start)
            if end < 0:
                break
            # Prose has spaces, encoded bytes have none; and what is marked twice is found by its inner mark.
            encoded = end - start >= _ATTACHMENTS_FROM_BYTES and b" " not in part[start : start + _ATTACHMENTS_FROM_BYTES]
            if encoded and not part.startswith(b"data:", start):
                self.text_bytes -= end - start
                found += 1
            start = part.find(marker, end)
        return found


def spoken_tokens(text_bytes: int, pieces: int = 0) -> int:
    """Return what an answer of that many bytes is charged when the provider reports nothing.

    Most providers stream a token a piece, so there are at least as many tokens as pieces.
    """
    return max(pieces, -(-text_bytes // CHARGED_BYTES_PER_TOKEN))
