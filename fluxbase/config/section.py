"""What every block of the configuration has in common; it must not know any key."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fluxbase.config.duration import Duration

Identifier = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_$]{0,62}$")]
Network = IPv4Network | IPv6Network
Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[Duration, Field(gt=0)]


class Section(BaseModel):
    """A block of the file: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_blocks(cls, data: object) -> object:
        """Take a block whose lines are all commented out, which YAML reads as null, for empty."""
        if not isinstance(data, dict):
            return data
        items = cast("dict[str, object]", data)
        blocks = {
            name
            for name, field in cls.model_fields.items()
            if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
        }
        empty: dict[str, object] = {}
        return {k: empty if v is None and k in blocks else v for k, v in items.items()}
