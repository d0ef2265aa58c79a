"""The documents that clients find their way by; it must not know who asks.

Sources: RFC 9728, RFC 8414, OpenID Connect Discovery 1.0, RFC 7517.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from starlette.responses import JSONResponse
from starlette.routing import Route

from fluxbase.oauth.clients import METHODS
from fluxbase.oauth.requests import OFFLINE

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from fluxbase.oauth.service import Service

_OPEN: Final = {"Cache-Control": "max-age=300"}


class Documents:
    """The documents of one authorization server."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def routes(self) -> list[Route]:
        """Return what is served."""
        base, known = self._service.base_path, "/.well-known"
        return [
            Route(f"{known}/oauth-protected-resource", self.resource, methods=["GET"]),
            Route(f"{known}/oauth-protected-resource{base}", self.resource, methods=["GET"]),
            Route(f"{known}/oauth-authorization-server", self.server, methods=["GET"]),
            Route(f"{known}/oauth-authorization-server{base}", self.server, methods=["GET"]),
            Route(f"{known}/openid-configuration", self.server, methods=["GET"]),
            Route(f"{known}/openid-configuration{base}", self.server, methods=["GET"]),
            Route(f"{base}{known}/openid-configuration", self.server, methods=["GET"]),
            Route("/oauth/jwks", self.jwks, methods=["GET"]),
        ]

    async def resource(self, _request: Request) -> Response:
        """Answer what the MCP endpoint is and who issues tokens for it."""
        service = self._service
        return JSONResponse(
            {
                "resource": service.resource,
                "authorization_servers": [service.issuer],
                "scopes_supported": list(service.scopes),
                "bearer_methods_supported": ["header"],
                "resource_name": "Fluxbase",
            },
            headers=_OPEN,
        )

    async def server(self, _request: Request) -> Response:
        """Answer what the authorization server can."""
        service, issuer = self._service, self._service.issuer
        document: dict[str, Any] = {
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}/oauth/authorize",
            "token_endpoint": f"{issuer}/oauth/token",
            "revocation_endpoint": f"{issuer}/oauth/revoke",
            "introspection_endpoint": f"{issuer}/oauth/introspect",
            "jwks_uri": f"{issuer}/oauth/jwks",
            "scopes_supported": [*service.scopes, OFFLINE],
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_methods_supported": list(METHODS),
            "revocation_endpoint_auth_methods_supported": list(METHODS),
            "introspection_endpoint_auth_methods_supported": list(METHODS[1:]),
            "code_challenge_methods_supported": ["S256"],
            "client_id_metadata_document_supported": True,
            "authorization_response_iss_parameter_supported": True,
            "resource_indicators_supported": True,
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }
        if service.registration:
            document["registration_endpoint"] = f"{issuer}/oauth/register"
        return JSONResponse(document, headers=_OPEN)

    async def jwks(self, _request: Request) -> Response:
        """Answer the keys that verify access tokens."""
        return JSONResponse(self._service.tokens.jwks(), headers=_OPEN)
