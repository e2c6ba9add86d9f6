"""Upstreams: the AI providers that the settings name, ready to be asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tokenwell.config import Settings
from tokenwell.errors import UpstreamError
from tokenwell.gateway.models import Catalogue
from tokenwell.gateway.reloading import ReloadingRouter
from tokenwell.gateway.routing import single_provider
from tokenwell.gateway.upstream import Upstream, UpstreamAnswer
from tokenwell.service.meter import Meter


def open_upstream(settings: Settings, meter: Meter) -> Upstream:
    """Return the way to the providers: those of the models file, else the one the settings name, else none.

    The meter learns by which name a model is rated, each time the file changes.
    Raises RequestInvalid that names what is wrong with the file.
    """
    if settings.models_file:

        def rate_by(catalogue: Catalogue) -> None:
            meter.ratebook.rated_names = catalogue.rated_names()

        return ReloadingRouter(Path(settings.models_file), changed=rate_by)
    if settings.upstream_url:
        return single_provider(settings.upstream_url, settings.upstream_api_key, timeout_seconds=settings.upstream_timeout_seconds)
    return MissingUpstream()


class MissingUpstream:
    """Stands where no AI provider is configured: every request fails and says so."""

    async def open(self) -> None:
        """Do nothing."""

    def check(self, path: str, model: str) -> None:
        """Accept every model."""

    async def send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[bytes, bytes] | None = None,
        model: str | None = None,
        served_by: str = "",
    ) -> UpstreamAnswer:
        """Raise UpstreamError."""
        raise UpstreamError("no AI provider is configured: TOKENWELL_UPSTREAM_URL names one")

    async def close(self) -> None:
        """Do nothing."""
