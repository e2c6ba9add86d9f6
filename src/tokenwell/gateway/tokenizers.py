"""Tokenizers: OpenAI's own, loaded as they are first needed."""

from __future__ import annotations

from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder
from importlib.util import find_spec, module_from_spec
from typing import Any, Protocol


class Tokenizer(Protocol):
    """Counts the tokens of a text."""

    def count(self, text: str) -> int:
        """Return how many tokens a text is."""


@cache
def tokenizer(encoding: str) -> Tokenizer:
    """Return a tokenizer by the name of its encoding. The first call of each takes about 100 ms."""
    found: Tokenizer = _bindings().tokenizer_for_encoding(encoding)
    return found


@cache
def _bindings() -> Any:
    # The package itself reads every vocabulary into Python's own objects as it is imported: seconds, and a hundred megabytes.
    package = find_spec("bpe_openai")
    assert package is not None
    assert package.submodule_search_locations is not None
    (directory,) = package.submodule_search_locations
    extension = FileFinder(directory, (ExtensionFileLoader, EXTENSION_SUFFIXES)).find_spec("_bindings")
    assert extension is not None
    assert extension.loader is not None
    bindings = module_from_spec(extension)
    extension.loader.exec_module(bindings)
    return bindings
