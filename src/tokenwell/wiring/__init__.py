"""Wiring: the composition root. Opens the store, the services, the gateway and the console, and joins them to one application."""

from __future__ import annotations

from tokenwell.wiring.answers import Observed
from tokenwell.wiring.application import Application, create_app
from tokenwell.wiring.demo import DEMO_EMAIL, DemoAccess, prepare_demo
from tokenwell.wiring.jobs import JOBS, work, work_once
from tokenwell.wiring.opening import open_keys, open_meter, open_people, open_services, open_suite, revision_in
from tokenwell.wiring.servers import serve

__all__ = [
    "DEMO_EMAIL",
    "JOBS",
    "Application",
    "DemoAccess",
    "Observed",
    "create_app",
    "open_keys",
    "open_meter",
    "open_people",
    "open_suite",
    "open_services",
    "prepare_demo",
    "revision_in",
    "serve",
    "work",
    "work_once",
]
