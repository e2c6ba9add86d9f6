"""The file of providers and models: what it says, and how it is told what is wrong with it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.house.sources import ROOT
from tokenwell.errors import RequestInvalid
from tokenwell.gateway.models import Catalogue, Kind, Model, Provider, Target, load_catalogue, parse_catalogue, resolve

PAGE = ROOT / "docs" / "operating" / "models.md"


def example() -> str:
    """Return the file that the documentation shows."""
    (text,) = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return str(text)


A = '[providers.a]\nkind = "openai"\n'
WRONG = {
    "no TOML": (A + "x\n", r"line 3", "models_file"),
    "no providers": ("", r"providers", "models_file"),
    "an unknown member": ("x = 3\n" + A, r"line 1: x: there is no such field", "x"),
    "an unknown field": (A + "speed = 3\n", r"line 3: providers.a.speed: there is no such field", "providers.a.speed"),
    "an unknown kind": ('\n[providers.a]\nkind = "opena"\n', r"line 3: providers.a.kind", "providers.a.kind"),
    "no kind": ('[providers.a]\nbase_url = "http://x"\n', r"line 1: providers.a: .*`kind`", "providers.a"),
    "no table": ("[providers]\na = 1\n", r"line 2: providers.a", "providers.a"),
    "a key in the clear": (A + '[providers.b]\nkind = "openai"\napi_key = "sk-secret"\n', r"line 5: .*never in this file",
                           "providers.b.api_key"),
    "no address": (A + 'base_url = "example.com"\n', r"line 3: .*http", "providers.a.base_url"),
    "an address that is needed": ('[providers.a]\nkind = "azure"\n', r"line 1: .*needs a base_url", "providers.a"),
    "no time": (A + "connect_seconds = 0\n", r"line 3", "providers.a.connect_seconds"),
    "a header of two lines": (A + '[providers.a.headers]\nX-A = "1"\nX-B = "a\\nb"\n', r"line 5", "providers.a.headers.X-B"),
    "a name of a provider": ('[providers."a b"]\nkind = "openai"\n', r"line 1", "providers.a b"),
    "a provider called refuse": ('[providers.refuse]\nkind = "openai"\n', r"line 1", "providers.refuse"),
    "no targets": (A + '[models."m.1"]\ntargets = []\n', r"line 4: models.m.1.targets", "models.m.1.targets"),
    "a weight of nothing": (A + '[[models.m.targets]]\nprovider = "a"\n[[models.m.targets]]\nprovider = "a"\nweight = 0\n',
                            r"line 7: models.m.targets\[1\].weight", "models.m.targets[1].weight"),
    "no such provider": (A + '[models.m]\ntargets = [\n  { provider = "a" },\n  { provider = "b" },\n]\n',
                         r"line 4: .*no provider `b`", "models.m.targets[1].provider"),
    "no such provider for others": ('unknown_models = "b"\n' + A, r"line 1: .*no provider `b`", "unknown_models"),
    "a name of a model": (A + '[models."a\\nb"]\ntargets = [{ provider = "a" }]\n', r"printable|label|control|line", "models.a\nb"),
}  # fmt: skip


@pytest.mark.parametrize("how", WRONG)
def test_what_is_wrong_is_told_with_its_line_and_field(how: str) -> None:
    text, message, field = WRONG[how]
    with pytest.raises(RequestInvalid, match=message) as caught:
        parse_catalogue(text, name="models.toml")
    assert caught.value.message.startswith("models.toml")
    assert "sk-secret" not in caught.value.message
    assert caught.value.details["field"] == field


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestInvalid, match=r"none\.toml cannot be read"):
        load_catalogue(tmp_path / "none.toml")


def test_the_example_of_the_documentation_says_what_it_shows() -> None:
    catalogue = parse_catalogue(example())
    assert {name: each.kind for name, each in catalogue.providers.items()} == {
        "openai": Kind.OPENAI, "anthropic": Kind.ANTHROPIC, "azure": Kind.AZURE, "gemini": Kind.OPENAI_COMPATIBLE,
        "vllm": Kind.OPENAI_COMPATIBLE,
    }  # fmt: skip
    small = catalogue.models["small"].targets
    assert [(target.provider, target.model, target.weight, target.priority) for target in small] == [
        ("openai", "gpt-4o-mini", 3, 0), ("azure", "our-gpt-4o-mini", 1, 0), ("vllm", "Qwen/Qwen3-8B", 1, 1),
    ]  # fmt: skip
    assert catalogue.providers["openai"].url == "https://api.openai.com/v1"
    assert catalogue.unknown_models == "openai"
    assert catalogue.rated_names() == {"small": "gpt-4o-mini"}


def test_every_field_is_documented() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for fields in (kind.__struct_fields__ for kind in (Catalogue, Model, Provider, Target)):
        for field in fields:
            assert f"`{field}`" in page or f"{field} = " in page or f"[{field}" in page or f".{field}]" in page, field


def test_a_model_is_rated_by_its_first_target_unless_told_otherwise() -> None:
    text = A + '[models.x]\ntargets = [{ provider = "a", model = "y" }]\n[models.z]\ntargets = [{ provider = "a" }]\n'
    assert parse_catalogue(text).rated_names() == {"x": "y"}


def test_a_reference_is_resolved_and_its_secret_never_told(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk-1\n")
    assert resolve("env:KEY", {"KEY": " sk-0 "}) == "sk-0"
    assert resolve(f"file:{file}") == "sk-1"
    assert resolve("plain") == "plain"
    file.write_text("sk 1\nsk 2")
    for reference in ("env:NONE", f"file:{file}", f"file:{tmp_path}"):
        with pytest.raises(RequestInvalid) as caught:
            resolve(reference, {"NONE": ""})
        assert "sk" not in caught.value.message.replace(str(tmp_path), "")


def test_nothing_secret_is_shown() -> None:
    catalogue = parse_catalogue(A + 'api_key = "env:K"\nbase_url = "http://x"\n[providers.a.headers]\nX-Key = "secret"\n')
    assert "secret" not in repr(catalogue)
