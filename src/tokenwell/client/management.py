"""Management: the calls for AI services and keys."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tokenwell.client import bodies, managed
from tokenwell.client.people import PeopleCalls
from tokenwell.client.requests import Request, at, read, write
from tokenwell.client.shapes import Page
from tokenwell.client.topup_calls import TopupCalls


class ManagementCalls(PeopleCalls, TopupCalls):
    """Builds requests about who may use AI."""

    def create_service(
        self, /, organization_id: str, name: str, *, id: str | None = None, key: str | None = None, **more: Any
    ) -> Request[managed.AiService]:
        """Create an AI service (the fields of `NewService`). Raises AiStopped, ServiceExists."""
        return write("POST", at(organization_id, "services"), managed.AiService, key, bodies.NewService(name=name, id=id, **more))

    def list_services(
        self, organization_id: str, *, cursor: str | None = None, limit: int | None = None
    ) -> Request[Page[managed.AiService]]:
        """List AI services, the oldest first."""
        return read(at(organization_id, "services"), Page[managed.AiService], cursor=cursor, limit=limit)

    def get_service(self, organization_id: str, service_id: str) -> Request[managed.AiService]:
        """Return an AI service. Raises ServiceNotFound."""
        return read(at(organization_id, "services", service_id), managed.AiService)

    def change_service(
        self, /, organization_id: str, service_id: str, *, key: str | None = None, **changes: Any
    ) -> Request[managed.AiService]:
        """Change what is given of an AI service (the fields of `ServiceChanges`)."""
        return write("PATCH", at(organization_id, "services", service_id), managed.AiService, key, bodies.ServiceChanges(**changes))

    def disable_service(self, organization_id: str, service_id: str, *, key: str | None = None) -> Request[managed.AiService]:
        """Refuse the service's requests from now on."""
        return write("POST", at(organization_id, "services", service_id, "disable"), managed.AiService, key)

    def enable_service(self, organization_id: str, service_id: str, *, key: str | None = None) -> Request[managed.AiService]:
        """Let a disabled service go on."""
        return write("POST", at(organization_id, "services", service_id, "enable"), managed.AiService, key)

    def create_key(
        self, /, organization_id: str, name: str, *, key: str | None = None, **terms: Any
    ) -> Request[managed.GatewayKeyCreated]:
        """Issue a gateway key (the fields of `NewKey`). Its secret is told only in the first answer."""
        return write("POST", at(organization_id, "keys"), managed.GatewayKeyCreated, key, bodies.NewKey(name=name, **terms))

    def list_keys(
        self, organization_id: str, *, service_id: str | None = None, cursor: str | None = None, limit: int | None = None
    ) -> Request[Page[managed.GatewayKey]]:
        """List gateway keys, the newest first."""
        query = {"service_id": service_id, "cursor": cursor, "limit": limit}
        return read(at(organization_id, "keys"), Page[managed.GatewayKey], **query)

    def get_key(self, organization_id: str, key_id: str) -> Request[managed.GatewayKey]:
        """Return a gateway key. Raises KeyNotFound."""
        return read(at(organization_id, "keys", key_id), managed.GatewayKey)

    def change_key(
        self, /, organization_id: str, key_id: str, *, key: str | None = None, **changes: Any
    ) -> Request[managed.GatewayKey]:
        """Change what is given of a gateway key (the fields of `KeyChanges`)."""
        return write("PATCH", at(organization_id, "keys", key_id), managed.GatewayKey, key, bodies.KeyChanges(**changes))

    def revoke_key(self, organization_id: str, key_id: str, *, key: str | None = None) -> Request[managed.GatewayKey]:
        """Revoke a gateway key."""
        return write("POST", at(organization_id, "keys", key_id, "revoke"), managed.GatewayKey, key)

    def create_platform_key(
        self,
        name: str,
        scopes: list[str],
        *,
        organization_id: str | None = None,
        expires_at: datetime | None = None,
        key: str | None = None,
    ) -> Request[managed.PlatformKeyCreated]:
        """Issue a platform key, for every organization or for one. Its secret is told only in the first answer."""
        body = bodies.NewPlatformKey(name=name, scopes=tuple(scopes), organization_id=organization_id, expires_at=expires_at)
        return write("POST", "/v1/platform-keys", managed.PlatformKeyCreated, key, body)

    def list_platform_keys(self, *, cursor: str | None = None, limit: int | None = None) -> Request[Page[managed.PlatformKey]]:
        """List platform keys, the newest first."""
        return read("/v1/platform-keys", Page[managed.PlatformKey], cursor=cursor, limit=limit)

    def revoke_platform_key(self, key_id: str, *, key: str | None = None) -> Request[managed.PlatformKey]:
        """Revoke a platform key."""
        return write("POST", f"/v1/platform-keys/{key_id}/revoke", managed.PlatformKey, key)
