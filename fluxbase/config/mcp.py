"""The keys of the MCP endpoint: meaning, default, danger; it must not know where they come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from fluxbase.config.section import Positive, Seconds, Section


class Mcp(Section):
    """The MCP endpoint."""

    enabled: bool = Field(default=False, description="Enable the MCP server endpoint.")
    base_path: str = Field(
        default="/mcp", description="URL path of the endpoint; everything under it moves with it."
    )
    session_timeout: Seconds = Field(
        default=3600.0,
        description="Idle time after which a client's session ends; one whose stream is open is "
        "not idle. A session that is never used after `initialize` ends after 5 minutes.",
    )
    max_sessions: Positive = Field(
        default=10_000,
        description="Sessions open at a time, on all servers together; more get 503.",
    )
    max_sessions_per_key: Positive = Field(
        default=100, description="Sessions that one key has open at a time; more get 503."
    )
    max_message_size: Annotated[int, Field(ge=1024)] = Field(
        default=10485760, description="Maximum request size in bytes; larger ones get 413."
    )
    rate_limit_per_min: Positive = Field(
        default=100, description="Requests a minute per key. A key's own `--rate-limit` wins."
    )
    allowed_tools: tuple[str, ...] = Field(
        default=(), description="Tools to offer, as names or globs (`*_record`). Empty = all tools."
    )
    allowed_resources: tuple[str, ...] = Field(
        default=(), description="Resources to offer, as URIs or globs. Empty = all resources."
    )
    allowed_prompts: tuple[str, ...] = Field(
        default=(), description="Prompts to offer, as names or globs. Empty = all prompts."
    )
    open_tools_list: bool = Field(
        default=True,
        description="Show the list of tools (`GET {base_path}/tools`) without a key to programs of "
        "this machine, which see its documentation anyway; calling one needs a key.",
    )
    page_size: Positive = Field(
        default=200, description="Entries in one page of tools/list and the other lists."
    )
    untrusted_data: Literal["wrap", "plain"] = Field(
        default="plain",
        description="How the text of an answer shows rows. `wrap` puts them between tags that no "
        "row can forge and tells the model that they are data; `plain` is the bare JSON. "
        "`structuredContent` is the same in both. A key's own `--untrusted-data` wins.",
    )
    confirm: Literal["destructive", "nothing"] = Field(
        default="nothing",
        description="Before which calls a person is asked, where the client can ask (elicitation). "
        "`destructive` asks before update_record and delete_record. A key's own `--confirm` wins.",
    )

    @field_validator("base_path")
    @classmethod
    def _path(cls, value: str) -> str:
        if not value.startswith("/") or value == "/" or value.endswith("/") or "//" in value:
            raise ValueError("a path such as /mcp or /api/mcp is expected")
        if value in ("/livez", "/readyz", "/metrics"):
            raise ValueError("this path is taken by the server's own health")
        if not all(c.isalnum() or c in "/-_." for c in value):
            raise ValueError("only letters, digits, '-', '_', '.' and '/' may stand in the path")
        return value
