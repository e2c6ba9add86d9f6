"""The pages on access, together: services and keys, members and people, the audit log, the profile, and the ways in."""

from __future__ import annotations

from tokenwell.console import auditpage, doorpages, memberspage, profile, servicespage

ROUTES = [*servicespage.ROUTES, *memberspage.ROUTES, *auditpage.ROUTES, *profile.ROUTES, *doorpages.ROUTES]
