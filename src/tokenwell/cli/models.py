"""Models: the commands on the file of providers and models."""

from __future__ import annotations

import os
from typing import NamedTuple

import click

from tokenwell.cli.terminal import Call, Table, command, root
from tokenwell.errors import RequestInvalid
from tokenwell.gateway.models import Catalogue, load_catalogue
from tokenwell.gateway.routing import Router


@root.group()
def models() -> None:
    """Models: which providers there are, and which of them answers for which model."""


class _Route(NamedTuple):
    model: str
    provider: str
    model_there: str
    priority: int
    weight: int


_ROUTES = Table(
    {
        "Model": lambda route: route.model,
        "Provider": lambda route: route.provider,
        "Model there": lambda route: route.model_there,
        "Priority": lambda route: str(route.priority),
        "Weight": lambda route: str(route.weight),
    },
    right=("Priority", "Weight"),
)


@command(models, "check")
@click.argument("file", required=False)
def check_models(call: Call, file: str | None) -> None:
    """Read a models file as the server would, keys too, and show where each model goes. No provider is asked.

    Without FILE the one of TOKENWELL_MODELS_FILE is read.

    \b
    Examples:
      tokenwell models check models.toml
      tokenwell models check models.toml --json
    """
    path = file or call.settings().models_file
    if not path:
        raise RequestInvalid("name a models file, here or in TOKENWELL_MODELS_FILE", field="file")
    catalogue = load_catalogue(path)
    Router(catalogue, environ=os.environ)
    routes = _routes(catalogue)
    answer = {
        "providers": {name: {"kind": each.kind.value, "base_url": each.url} for name, each in catalogue.providers.items()},
        "models": [route._asdict() for route in routes],
        "unknown_models": catalogue.unknown_models,
    }
    unknown = "are refused" if catalogue.unknown_models == "refuse" else f"go to {catalogue.unknown_models}"
    end = f"{path} can be used. Other models {unknown}."
    call.show(answer, f"{_ROUTES.render(routes)}\n\n{end}" if routes else end)


def _routes(catalogue: Catalogue) -> list[_Route]:
    return [
        _Route(name, target.provider, target.model or name, target.priority, target.weight)
        for name, model in catalogue.models.items()
        for target in sorted(model.targets, key=lambda target: target.priority)
    ]
