"""Settings: read from the environment, checked, named when they cannot be used, and never shown whole where they are secret."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tokenwell.config import PREFIX, Settings, describe
from tokenwell.errors import RequestInvalid

UNUSABLE = {
    "TOKENWELL_DATABASE_URL": ["mysql://x", "tokenwell.db", "sqlite:/x"],
    "TOKENWELL_HOST": ["  \t"],
    "TOKENWELL_PORT": ["0", "65536", "many", "80.5", "-1", "8_080"],
    "TOKENWELL_PUBLIC_URL": ["ai.example.com", "ftp://ai.example.com", "https://", "https://a b"],
    "TOKENWELL_SECURE_COOKIES": ["maybe", "2"],
    "TOKENWELL_SESSION_HOURS": ["0", "9000"],
    "TOKENWELL_WARNING_THRESHOLD_TOKENS": ["-1", "5M", "100000000000000000", "99999"],
    "TOKENWELL_MINIMUM_RESERVE_TOKENS": ["-1", "1000001"],
    "TOKENWELL_EMERGENCY_LIMIT_TOKENS": ["-1", "50k", "10000000000000001"],
    "TOKENWELL_HOLD_SECONDS": ["0", "86401"],
    "TOKENWELL_OUTPUT_LIMIT_TOKENS": ["0"],
    "TOKENWELL_BODY_LIMIT_BYTES": ["1"],
    "TOKENWELL_UPSTREAM_URL": ["api.openai.com", "file:/x"],
    "TOKENWELL_UPSTREAM_API_KEY_FILE": ["nowhere/key"],
    "TOKENWELL_UPSTREAM_TIMEOUT_SECONDS": ["0"],
    "TOKENWELL_UNRATED_MODELS": ["free"],
    "TOKENWELL_QUEUE_LIMIT": ["0"],
    "TOKENWELL_BATCH_LIMIT": ["0"],
    "TOKENWELL_API_REQUESTS_PER_MINUTE": ["-1", "many"],
    "TOKENWELL_RUN_JOBS": ["perhaps"],
    "TOKENWELL_SECRET_KEY": ["short", "a" * 31, f"{'a' * 32} short"],
    "TOKENWELL_SMTP_PORT": ["0"],
    "TOKENWELL_SMTP_SECURITY": ["ssl"],
    "TOKENWELL_SMTP_PASSWORD_FILE": ["nowhere/password"],
    "TOKENWELL_OIDC_ISSUER": ["id.example.com", "ftp://id.example.com"],
    "TOKENWELL_OIDC_CLIENT_SECRET_FILE": ["nowhere/secret"],
    "TOKENWELL_OIDC_ALLOW_LOOPBACK": ["perhaps"],
    "TOKENWELL_EVENTS_KEPT_DAYS": ["-1", "36601"],
    "TOKENWELL_STRIPE_URL": ["api.stripe.com", "ftp://api.stripe.com"],
    "TOKENWELL_LOG_LEVEL": ["loud"],
    "TOKENWELL_LOG_FORMAT": ["xml"],
}
CASES = [(variable, text) for variable, texts in UNUSABLE.items() for text in texts if text.strip()]


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Settings.from_env({"PATH": "/bin"}) == Settings()


def test_a_variable_that_is_empty_counts_as_not_given() -> None:
    assert Settings.from_env({"TOKENWELL_HOST": "  \t", "TOKENWELL_PORT": ""}) == Settings()


@pytest.mark.parametrize(("variable", "text"), CASES)
def test_a_value_that_cannot_be_used_names_its_variable(variable: str, text: str) -> None:
    with pytest.raises(RequestInvalid) as caught:
        Settings.from_env({variable: text})
    assert "TOKENWELL_" in caught.value.message
    assert text not in ("5M",) or "whole number" in caught.value.message
    assert caught.value.details["field"] in (variable, "TOKENWELL_WARNING_THRESHOLD_TOKENS")


def test_every_setting_has_a_bad_value_above_unless_any_text_will_do() -> None:
    assert {each.variable for each in describe() if each.allowed != "text"} <= set(UNUSABLE)


def test_a_misspelt_variable_is_refused() -> None:
    with pytest.raises(RequestInvalid, match="TOKENWELL_PROT is not a setting"):
        Settings.from_env({"TOKENWELL_PROT": "80"})


def test_what_is_given_goes_before_the_environment() -> None:
    assert Settings.from_env({"TOKENWELL_PORT": "81"}, port=82).port == 82


def test_settings_survive_the_way_through_an_environment() -> None:
    """Worker processes read them from theirs."""
    settings = Settings(
        port=81, secure_cookies=True, upstream_url="http://127.0.0.1:9/v1", upstream_api_key="k", public_url="http://a.example"
    )
    assert Settings.from_env(settings.to_env()) == settings
    assert Settings.from_env(Settings().to_env()) == Settings()


def test_cookies_are_secure_where_the_console_is_reached_by_https() -> None:
    assert Settings.from_env({"TOKENWELL_PUBLIC_URL": "https://ai.example.com"}).secure_cookies
    assert not Settings.from_env({"TOKENWELL_PUBLIC_URL": "http://ai.example.com"}).secure_cookies
    assert Settings.from_env({"TOKENWELL_SECURE_COOKIES": "true"}).secure_cookies
    assert not Settings.from_env(
        {"TOKENWELL_PUBLIC_URL": "https://ai.example.com", "TOKENWELL_SECURE_COOKIES": "false"}
    ).secure_cookies


def test_a_providers_key_chooses_the_provider() -> None:
    openai = Settings.from_env({"OPENAI_API_KEY": "sk-o", "ANTHROPIC_API_KEY": "sk-a"})
    assert (openai.upstream_url, openai.upstream_api_key) == ("https://api.openai.com/v1", "sk-o")
    anthropic = Settings.from_env({"ANTHROPIC_API_KEY": "sk-a"})
    assert (anthropic.upstream_url, anthropic.upstream_api_key) == ("https://api.anthropic.com/v1", "sk-a")


def test_a_providers_key_is_not_sent_to_another_upstream() -> None:
    settings = Settings.from_env({"OPENAI_API_KEY": "sk-o", "TOKENWELL_UPSTREAM_URL": "https://llm.example.com/v1"})
    assert (settings.upstream_url, settings.upstream_api_key) == ("https://llm.example.com/v1", "")


def test_the_key_of_the_upstream_can_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk-from-file\n")
    environment = {"TOKENWELL_UPSTREAM_URL": "https://llm.example.com/v1", "TOKENWELL_UPSTREAM_API_KEY_FILE": str(file)}
    assert Settings.from_env(environment).upstream_api_key == "sk-from-file"
    file.write_text("two words")
    with pytest.raises(RequestInvalid, match="TOKENWELL_UPSTREAM_API_KEY_FILE must hold one key"):
        Settings.from_env(environment)


def test_secrets_are_not_shown() -> None:
    shown = repr(Settings(upstream_api_key="sk-secret", database_url="postgresql://user:pa%20ss@host/db"))
    assert "sk-secret" not in shown
    assert "pa%20ss" not in shown
    assert "user" in shown


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080"),
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("::", "http://127.0.0.1:8080"),
        ("::1", "http://[::1]:8080"),
        ("ai.example.com", "http://ai.example.com:8080"),
    ],
)
def test_the_address_is_one_that_can_be_opened(host: str, address: str) -> None:
    assert Settings(host=host).address == address


def test_the_public_address_goes_before_host_and_port() -> None:
    assert Settings(public_url="https://ai.example.com/").address == "https://ai.example.com"


def test_every_setting_is_described() -> None:
    described = {each.name: each for each in describe()}
    assert list(described) == list(Settings.__struct_fields__)
    for each in described.values():
        assert each.variable == PREFIX + each.name.upper()
        assert each.help.endswith(".")
        unit = each.name.rpartition("_")[2]
        assert each.unit == (unit if unit in ("tokens", "seconds", "hours", "bytes") else each.unit)


def test_every_default_keeps_its_own_bounds() -> None:
    for name, value in msgspec.structs.asdict(Settings()).items():
        if value != "":
            Settings.from_env({PREFIX + name.upper(): str(value).lower()} if name != "upstream_api_key_file" else {})
