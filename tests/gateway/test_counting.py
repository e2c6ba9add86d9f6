"""What is held for a prompt, and charged where nobody reports."""

from __future__ import annotations

import base64
import json
from typing import Any

from tokenwell.gateway.counting import ATTACHMENT_TOKENS, Prompt, spoken_tokens

PICTURE = base64.b64encode(bytes(range(256)) * 1_000).decode()


def _prompt(*content: Any, ascii_only: bool = False) -> Prompt:
    return Prompt([json.dumps([{"role": "user", "content": list(content)}], ensure_ascii=ascii_only).encode()])


def test_more_is_held_than_would_be_charged() -> None:
    prompt = _prompt({"type": "text", "text": "word " * 400})
    assert prompt.held_tokens > prompt.charged_tokens > 400


def test_a_prompt_is_never_free() -> None:
    assert Prompt([]).charged_tokens == 1


def test_a_picture_counts_by_the_piece_and_not_by_its_bytes() -> None:
    text = {"type": "text", "text": "What is this?"}
    data = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}
    address = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    by_address, by_data = _prompt(text, address), _prompt(text, data)
    assert by_address.attachments == by_data.attachments == 1
    assert abs(by_address.charged_tokens - by_data.charged_tokens) < 10
    assert _prompt(text, data, data, address).charged_tokens - by_data.charged_tokens in range(
        2 * ATTACHMENT_TOKENS, 2 * ATTACHMENT_TOKENS + 100
    )


def test_sound_and_files_count_by_the_piece() -> None:
    sound = {"type": "input_audio", "input_audio": {"data": PICTURE, "format": "wav"}}
    file = {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PICTURE}"}}
    named = {"type": "input_audio", "input_audio": {"data": f"data:audio/wav;base64,{PICTURE}"}}
    for attached in (sound, file, named):
        prompt = _prompt(attached)
        assert prompt.attachments == 1
        assert 0 < prompt.text_bytes < 200


def test_prose_about_data_is_prose() -> None:
    prompt = _prompt({"type": "text", "data": "long prose " * 1_000})
    assert prompt.attachments == 0
    assert prompt.charged_tokens > 2_500


def test_escaped_letters_count_as_what_they_stand_for() -> None:
    text = {"type": "text", "text": "你好世界" * 100}
    assert abs(_prompt(text, ascii_only=True).charged_tokens - _prompt(text).charged_tokens) < 5


def test_an_answer_counts_at_least_a_token_a_piece() -> None:
    assert spoken_tokens(400, 10) == 100
    assert spoken_tokens(400, 300) == 300
    assert spoken_tokens(1) == 1
