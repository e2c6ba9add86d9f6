"""Secrets that must be read again are sealed: with the key they open, without it they tell nothing."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from tokenwell.errors import SealBroken
from tokenwell.service.access.sealing import Sealer, keys_in

FIRST, SECOND = "first key of the sealer, long enough".replace(" ", "-"), "second key of the sealer, long enough".replace(" ", "-")


def sealer_of(*keys: str) -> Sealer:
    """Return a sealer with these keys."""
    return Sealer(lambda: keys)


def test_what_is_sealed_opens_again_and_does_not_show() -> None:
    sealed = sealer_of(FIRST).seal("whsec_秘密", purpose="webhook")
    assert "秘密".encode() not in sealed
    assert sealer_of(FIRST).open(sealed, purpose="webhook") == "whsec_秘密"


def test_the_same_text_is_never_sealed_alike() -> None:
    sealer = sealer_of(FIRST)
    assert sealer.seal("same", purpose="p") != sealer.seal("same", purpose="p")


def test_another_key_does_not_open_it() -> None:
    with pytest.raises(SealBroken):
        sealer_of(SECOND).open(sealer_of(FIRST).seal("text", purpose="p"), purpose="p")


def test_another_purpose_does_not_open_it() -> None:
    sealer = sealer_of(FIRST)
    with pytest.raises(SealBroken):
        sealer.open(sealer.seal("text", purpose="webhook"), purpose="second factor")


@pytest.mark.parametrize("broken", [b"", b"nonsense", b"\xff\xfe"])
def test_nonsense_does_not_open(broken: bytes) -> None:
    with pytest.raises(SealBroken):
        sealer_of(FIRST).open(broken, purpose="p")


def test_a_changed_byte_does_not_open() -> None:
    sealed = bytearray(sealer_of(FIRST).seal("text", purpose="p"))
    sealed[40] ^= 1
    with pytest.raises(SealBroken):
        sealer_of(FIRST).open(bytes(sealed), purpose="p")


def test_a_replaced_key_still_opens_and_verifies_what_it_sealed_and_signed() -> None:
    before, after = sealer_of(FIRST), sealer_of(SECOND, FIRST)
    assert after.open(before.seal("text", purpose="p"), purpose="p") == "text"
    assert after.is_signed("text", before.sign("text", purpose="p"), purpose="p")
    with pytest.raises(SealBroken):
        before.open(after.seal("text", purpose="p"), purpose="p")


def test_a_signature_holds_for_its_text_purpose_and_key_alone() -> None:
    signature = sealer_of(FIRST).sign("text", purpose="p")
    assert sealer_of(FIRST).is_signed("text", signature, purpose="p")
    assert not sealer_of(FIRST).is_signed("texts", signature, purpose="p")
    assert not sealer_of(FIRST).is_signed("text", signature, purpose="q")
    assert not sealer_of(SECOND).is_signed("text", signature, purpose="p")
    assert not sealer_of(FIRST).is_signed("text", "é", purpose="p")


def test_the_key_file_is_made_at_first_use_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "tokenwell.key"
    sealer = Sealer(keys_in("", file))
    assert not file.exists()
    sealed = sealer.seal("text", purpose="p")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in file.parent.iterdir()] == ["tokenwell.key"]
    assert Sealer(keys_in("", file)).open(sealed, purpose="p") == "text"


def test_many_that_make_the_key_file_at_once_read_the_same_key(tmp_path: Path) -> None:
    file, gate, sealed = tmp_path / "tokenwell.key", threading.Barrier(8), []

    def seal() -> None:
        gate.wait()
        sealed.append(Sealer(keys_in("", file)).seal("text", purpose="p"))

    threads = [threading.Thread(target=seal) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {Sealer(keys_in("", file)).open(each, purpose="p") for each in sealed} == {"text"}
    assert len(sealed) == 8


def test_a_key_that_is_given_makes_no_file(tmp_path: Path) -> None:
    file = tmp_path / "tokenwell.key"
    Sealer(keys_in(FIRST, file)).seal("text", purpose="p")
    assert not file.exists()


@pytest.mark.parametrize("content", [b"", b"too-short\n", b"\xff" * 40])
def test_a_key_file_that_holds_no_key_says_so(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "tokenwell.key"
    file.write_bytes(content)
    with pytest.raises(SealBroken, match="key file"):
        Sealer(keys_in("", file)).seal("text", purpose="p")
