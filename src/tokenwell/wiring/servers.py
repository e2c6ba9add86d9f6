"""Servers: the application on a port, in this process or in several, with a model beside it where no provider is configured."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import msgspec

from tokenwell.config import Settings
from tokenwell.gateway.models import load_catalogue
from tokenwell.localmodel import LocalModel
from tokenwell.observability import configure_logging
from tokenwell.service.identity.first_run import FirstRun
from tokenwell.service.ports import system_clock
from tokenwell.serving import bind, run_app, run_workers, stopped_by_signals
from tokenwell.wiring.application import Application, create_app
from tokenwell.wiring.opening import open_patiently, open_people


def create_worker_app() -> Application:
    """Return the application of a worker process, whose settings are in its environment."""
    settings = Settings.from_env(os.environ)
    configure_logging(level=settings.log_level, form=settings.log_format)
    return create_app(settings)


def serve(
    settings: Settings,
    *,
    workers: int = 1,
    ready: Callable[[str], None] = lambda model: None,
    set_up: Callable[[str], None] = lambda token: None,
) -> None:
    """Serve until SIGINT or SIGTERM. `ready` is called with the model's name once requests are taken.

    `set_up` is called before that with the token that sets a server up which nobody administers yet.
    With no provider configured a local model is run beside it. Raises RequestInvalid if the port is taken or the models file wrong.
    """
    if settings.models_file:
        load_catalogue(settings.models_file)  # a mistake in it is told before anything is opened
    configure_logging(level=settings.log_level, form=settings.log_format)
    with stopped_by_signals(), bind(settings) as listener:
        token = _first_token(settings)
        if token:
            set_up(token)
        if settings.upstream_url or settings.models_file:
            _serve(settings, listener, workers, lambda: ready(""))
            return
        with LocalModel() as model:
            beside = msgspec.structs.replace(settings, upstream_url=model.url, upstream_api_key=model.api_key)
            _serve(beside, listener, workers, lambda: ready(model.served.model))


def _first_token(settings: Settings) -> str | None:
    """Return the token that sets a server up, None where somebody administers it."""
    with open_patiently(settings, system_clock) as meter:
        return FirstRun(open_people(meter, settings)).new_token()


def _serve(settings: Settings, listener: Any, workers: int, ready: Callable[[], None]) -> None:
    if workers == 1:
        run_app(create_app(settings), listener, ready=ready)
    else:
        run_workers(f"{__name__}:{create_worker_app.__name__}", listener, settings=settings, workers=workers, ready=ready)
