"""Properties: how they are tried. A slow machine is no counterexample."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

steady = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
