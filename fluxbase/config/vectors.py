"""The keys of vector search; it must not know where values come from."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr, field_validator

from fluxbase.config.section import Positive, Seconds, Section


class Embeddings(Section):
    """A model that turns texts into vectors, behind an OpenAI-compatible endpoint."""

    url: str | None = Field(
        default=None,
        description="Its base address, such as `https://api.openai.com/v1`. Without one, callers "
        "give vectors themselves, or search by words (`hybrid`).",
    )
    model: str = Field(default="text-embedding-3-small", description="Name of the model.")
    api_key: SecretStr | None = Field(default=None, description="Sent as a bearer token.")
    dimensions: Positive | None = Field(
        default=None, description="Length of vectors to ask for, where the model has several."
    )
    batch_size: Annotated[int, Field(ge=1, le=2048)] = Field(
        default=64, description="Texts in one request."
    )
    max_characters: Positive = Field(default=32_000, description="Longest text that is sent.")
    timeout: Seconds = Field(default=10.0, description="Time limit of one request.")

    @field_validator("url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("https://", "http://")):
            raise ValueError("an address such as https://api.openai.com/v1 is expected")
        return value.rstrip("/") if value else value


class Vectors(Section):
    """Vector search."""

    embeddings: Embeddings = Field(default_factory=Embeddings, description=str(Embeddings.__doc__))
