"""Makes what verifies the tokens of users from the configuration; it verifies none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluxbase.auth.jwt import Verifier, load_keys
from fluxbase.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from fluxbase.config import Config


def token_verifier(config: Config) -> Verifier | None:
    """Return what verifies users' tokens, or `None` where none are taken.

    Raises:
        ConfigError: the keys cannot be used.
    """
    jwt = config.auth.jwt
    if not jwt.enabled:
        return None
    if not jwt.issuer or not jwt.audience:
        raise ConfigError("auth.jwt: issuer and audience are needed to accept tokens")
    keys = load_keys(
        secret=jwt.secret.get_secret_value() if jwt.secret else None,
        public_keys=[(k.kid, k.alg, _text(k.file, "auth.jwt.keys")) for k in jwt.keys],
        jwks=_text(jwt.jwks_file, "auth.jwt.jwks_file") if jwt.jwks_file else None,
    )
    return Verifier(
        keys,
        jwt.issuer,
        jwt.audience,
        max_lifetime=round(jwt.max_lifetime),
        required=jwt.required,
    )


def _text(file: Path, key: str) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"{key}: {file} cannot be read") from None
