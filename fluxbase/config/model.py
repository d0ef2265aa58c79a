"""Every configuration key: meaning, default, danger; it must not know where values come from.

The descriptions are the documentation: `fluxbase.yaml` and the reference page are made from them.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator

from fluxbase.config.duration import Duration
from fluxbase.config.functions import Functions
from fluxbase.config.jobs import Jobs
from fluxbase.config.mcp import Mcp
from fluxbase.config.oauth import Egress, OAuth
from fluxbase.config.rpc import Rpc
from fluxbase.config.section import Identifier, Network, Positive, Seconds, Section
from fluxbase.config.sql import Sql
from fluxbase.config.storage import Storage
from fluxbase.config.vectors import Vectors

MOST_WORKERS = 64
INTERNAL_SCHEMAS = ("auth", "storage", "functions", "jobs", "rpc", "vectors", "platform")


def is_closed(schema: str) -> bool:
    """Return whether a schema is the server's or Postgres' own, which nobody may change."""
    own = (*INTERNAL_SCHEMAS, "extensions", "information_schema")
    return schema in own or schema.startswith("pg_")


class Server(Section):
    """The listener."""

    host: str = Field(
        default="127.0.0.1", description="Address to listen on. 0.0.0.0 is every interface."
    )
    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=8080, description="Port to listen on."
    )
    workers: Annotated[int, Field(ge=1, le=MOST_WORKERS)] = Field(
        default=1,
        description="Processes that serve, best as many as there are processors to spare. Limits "
        "hold for all together; each has pools of its own (`database.client_pool_size`).",
    )
    public_url: str | None = Field(
        default=None,
        description="Address that clients reach this server at, such as `https://db.example.com`; "
        "signed URLs begin with it.",
    )
    api_path: str = Field(
        default="/api/v1", description="URL path of the routes beside MCP, such as files."
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=("localhost", "127.0.0.1", "[::1]"),
        description="Host headers answered; others get 403 (DNS rebinding). `*` answers any.",
    )
    allowed_origins: tuple[str, ...] = Field(
        default=(), description="Origins of web pages that may call; others get 403."
    )
    trusted_proxies: tuple[Network, ...] = Field(
        default=(), description="Proxies whose X-Forwarded-For and X-Forwarded-Proto are believed."
    )
    request_timeout: Seconds = Field(
        default=30.0, description="Deadline of one request; what runs longer is cancelled."
    )
    drain_timeout: Seconds = Field(
        default=30.0, description="How long SIGTERM waits for requests in flight."
    )
    keep_alive: Seconds = Field(default=30.0, description="Idle time of a kept connection.")
    header_timeout: Seconds = Field(
        default=5.0, description="Time a client has to send its headers; slow ones are cut off."
    )
    max_header_bytes: Positive = Field(
        default=16384, description="Size limit of all headers together."
    )
    max_headers: Positive = Field(default=100, description="Number of headers allowed.")
    max_connections_per_ip: Positive = Field(
        default=256,
        description="Open connections per client address and worker; more get 503.",
    )


class Embedded(Section):
    """The Postgres that Fluxbase runs itself when `database.url` is unset."""

    data_dir: Path = Field(
        default=Path(".fluxbase/pgdata"),
        description="Where its data lives. Relative to the configuration file.",
    )
    bin_dir: Path | None = Field(
        default=None, description="Postgres programs to use instead of the bundled ones."
    )
    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=0, description="Loopback port. 0 picks a free one and keeps it."
    )
    settings: dict[str, str] = Field(
        default_factory=dict, description="Further postgresql.conf settings, as texts."
    )


class Database(Section):
    """Postgres."""

    url: SecretStr | None = Field(
        default=None,
        description="Postgres >= 15 with pgvector, as the owner of the database with CREATEROLE. "
        "Unset runs an embedded Postgres 18. TLS options pass through (`?sslmode=verify-full`).",
    )
    direct_url: SecretStr | None = Field(
        default=None,
        description="The same database without the pooler, for migrations and LISTEN. "
        "Needed when `url` is a transaction pooler.",
    )
    replica_urls: tuple[SecretStr, ...] = Field(
        default=(),
        description="Streaming replicas that serve read-only tools. A key reads its own writes: "
        "until a replica has replayed them, the primary answers.",
    )
    pooler: Literal["none", "transaction"] = Field(
        default="none",
        description="`transaction` when `url` leads through PgBouncer in transaction mode: "
        "every call becomes one transaction, prepared statements are off.",
    )
    embedded: Embedded = Field(default_factory=Embedded, description=str(Embedded.__doc__))
    exposed_schemas: tuple[Identifier, ...] = Field(
        default=("public",), description="Schemas whose tables client keys may see."
    )
    require_rls: bool = Field(
        default=True, description="Hide tables without row-level security from client keys."
    )
    rls_exceptions: tuple[str, ...] = Field(
        default=(),
        description="Tables (`schema.table`) shown without row-level security: every key that "
        "may read them reads all rows.",
    )
    strict: bool = Field(
        default=False,
        description="Refuse to start while `fluxbase doctor` finds an unsafe exposure.",
    )
    client_pool_size: Positive = Field(default=16, description="Connections for client keys.")
    service_pool_size: Positive = Field(default=4, description="Connections for service keys.")
    admin_pool_size: Annotated[int, Field(ge=2)] = Field(
        default=3, description="Connections for keys, audit and the catalog."
    )
    acquire_timeout: Seconds = Field(
        default=2.0, description="Wait for a free connection; after it the caller gets 503."
    )
    connect_timeout: Seconds = Field(
        default=2.0, description="Time limit of opening a connection, within `acquire_timeout`."
    )
    max_connection_age: Seconds = Field(
        default=1800.0, description="Age at which a connection is replaced."
    )
    statement_timeout: Seconds = Field(
        default=15.0, description="Time limit of one statement. A role's own setting wins."
    )
    lock_timeout: Seconds = Field(default=5.0, description="Time limit of waiting for a lock.")
    max_rows: Positive = Field(default=1000, description="Most rows one answer carries.")
    max_bytes: Annotated[int, Field(ge=1024)] = Field(
        default=4194304, description="Most bytes of rows one answer carries."
    )
    undo_max_bytes: Annotated[int, Field(ge=0, le=67108864)] = Field(
        default=1048576,
        description="Most bytes of rows that one write keeps in `platform.undo`, as they were "
        "before it; administrators take a write back with them. 0 keeps none.",
    )
    max_embed_depth: Annotated[int, Field(ge=0, le=32)] = Field(
        default=8, description="How deep related tables may be embedded in one another."
    )
    planned_counts: Literal["service", "all"] = Field(
        default="service",
        description="Who may ask for `count: planned`. Postgres' estimates are made of statistics "
        "of all rows, so they tell a caller a little about rows it may not see.",
    )

    @field_validator("url", "direct_url")
    @classmethod
    def _postgres(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not value.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("an address such as postgresql://user@host/db is expected")
        return value

    @field_validator("exposed_schemas")
    @classmethod
    def _not_internal(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(s in INTERNAL_SCHEMAS or s.startswith(("pg_", "information_")) for s in value):
            raise ValueError("internal and system schemas cannot be exposed")
        return value


class Migrations(Section):
    """Your own migrations."""

    dir: Path = Field(
        default=Path("migrations"),
        description="Folder of your own SQL migrations (dbmate's format), applied at start.",
    )
    at_start: bool = Field(
        default=True, description="Apply pending migrations when the server starts."
    )


class JwtKey(Section):
    """One public key that verifies tokens."""

    kid: str | None = Field(default=None, description="Key id as the tokens name it.")
    alg: Literal["RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA"] = Field(
        description="The one algorithm this key verifies."
    )
    file: Path = Field(description="PEM file of the public key.")


class Jwt(Section):
    """Tokens of your users (`Authorization: Bearer <JWT>`)."""

    secret: SecretStr | None = Field(default=None, description="HS256 secret, at least 32 bytes.")
    keys: tuple[JwtKey, ...] = Field(
        default=(), description="Public keys, each with one algorithm."
    )
    jwks_file: Path | None = Field(default=None, description="JWKS file with public keys.")
    issuer: str | None = Field(default=None, description="Required `iss`.")
    audience: tuple[str, ...] = Field(default=(), description="Accepted `aud`; one must match.")
    required: tuple[str, ...] = Field(
        default=("exp", "iat", "sub", "iss", "aud"), description="Claims a token must carry."
    )
    max_lifetime: Seconds = Field(default=3600.0, description="Longest `exp` - `iat` accepted.")
    role_claim: str = Field(default="role", description="Claim that is looked up in `role_map`.")
    role_map: dict[str, str] = Field(
        default_factory=lambda: {"authenticated": "authenticated"},
        description="Claim value to Postgres role. What is not listed is refused, so a token can "
        "never name a role by itself.",
    )
    scopes: tuple[str, ...] = Field(
        default=("read:tables", "write:tables", "read:schema"),
        description="Scopes of a token's holder.",
    )

    @property
    def enabled(self) -> bool:
        """True when at least one verification key is configured."""
        return self.secret is not None or bool(self.keys) or self.jwks_file is not None


class Auth(Section):
    """Keys and tokens."""

    peppers: SecretStr | None = Field(
        default=None,
        description="Secrets that key hashes depend on, `name:base64,name:base64`, the current "
        "one first. Unset keeps one in `peppers_file`. Every instance needs the same.",
    )
    peppers_file: Path = Field(
        default=Path(".fluxbase/peppers"),
        description="Where a generated pepper is kept (mode 0600). Losing it voids every key, and "
        "every secret of functions.",
    )
    key_cache: Annotated[Duration, Field(gt=0, le=5)] = Field(
        default=5.0, description="How long a key is trusted without asking Postgres; at most 5s."
    )
    failed_per_min: Positive = Field(
        default=30, description="Refused credentials a minute per client address."
    )
    jwt: Jwt = Field(default_factory=Jwt, description=str(Jwt.__doc__))
    oauth: OAuth = Field(default_factory=OAuth, description=str(OAuth.__doc__))


class Limits(Section):
    """Where rate limits are counted."""

    storage: SecretStr = Field(
        default=SecretStr("memory://"),
        description="`memory://` counts for one server with all its workers; "
        "`redis://host:6379/0` counts for all servers.",
    )

    @field_validator("storage")
    @classmethod
    def _scheme(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(("memory://", "redis://", "rediss://")):
            raise ValueError("memory://, redis:// or rediss:// is expected")
        return value


class Audit(Section):
    """What is written to `platform.audit`."""

    reads: bool = Field(
        default=True, description="Record reads too, in batches. Writes and denials always are."
    )
    retention: Seconds = Field(
        default=90 * 86400.0, description="Age at which records are deleted."
    )
    undo_retention: Seconds = Field(
        default=7 * 86400.0,
        description="Age at which the rows that writes changed are deleted from `platform.undo`.",
    )


class Log(Section):
    """Logs on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level to write."
    )
    format: Literal["text", "json"] = Field(
        default="text", description="Lines for people or machines."
    )


class Metrics(Section):
    """`/metrics` in Prometheus format."""

    allow_from: tuple[Network, ...] = Field(
        default=(IPv4Network("127.0.0.0/8"), IPv6Network("::1/128")),
        description="Addresses that may read it without a service key.",
    )


class Config(Section):
    """The whole configuration."""

    mcp: Mcp = Field(default_factory=Mcp, description=str(Mcp.__doc__))
    server: Server = Field(default_factory=Server, description=str(Server.__doc__))
    database: Database = Field(default_factory=Database, description=str(Database.__doc__))
    migrations: Migrations = Field(default_factory=Migrations, description=str(Migrations.__doc__))
    auth: Auth = Field(default_factory=Auth, description=str(Auth.__doc__))
    limits: Limits = Field(default_factory=Limits, description=str(Limits.__doc__))
    audit: Audit = Field(default_factory=Audit, description=str(Audit.__doc__))
    sql: Sql = Field(default_factory=Sql, description=str(Sql.__doc__))
    storage: Storage = Field(default_factory=Storage, description=str(Storage.__doc__))
    vectors: Vectors = Field(default_factory=Vectors, description=str(Vectors.__doc__))
    jobs: Jobs = Field(default_factory=Jobs, description=str(Jobs.__doc__))
    functions: Functions = Field(default_factory=Functions, description=str(Functions.__doc__))
    rpc: Rpc = Field(default_factory=Rpc, description=str(Rpc.__doc__))
    egress: Egress = Field(default_factory=Egress, description=str(Egress.__doc__))
    log: Log = Field(default_factory=Log, description=str(Log.__doc__))
    metrics: Metrics = Field(default_factory=Metrics, description=str(Metrics.__doc__))
