"""The keys of vector search; it must not know where values come from."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from fluxbase.config.section import Positive, Seconds, Section


class Embeddings(Section):
    """A model that turns texts into vectors: an OpenAI-compatible endpoint, or a function."""

    url: str | None = Field(
        default=None,
        description="Its base address, such as `https://api.openai.com/v1`. Without one, callers "
        "give vectors themselves, or search by words (`hybrid`).",
    )
    function: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_]\w{0,62}\.[A-Za-z_]\w{0,62}$",
        description="A function of the database in place of an endpoint, such as `ai.embed`: "
        "takes a text, returns its vector; it runs as the owner of the database.",
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
    concurrency: Annotated[int, Field(ge=1, le=32)] = Field(
        default=2, description="Requests at a time of each server process that fills collections."
    )
    max_tokens_per_day: Positive | None = Field(
        default=None,
        description="Tokens that all servers together may have sent on one day (UTC) for a further "
        "request to begin; then texts wait for the next day, and searches by meaning are refused.",
    )

    @field_validator("url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("https://", "http://")):
            raise ValueError("an address such as https://api.openai.com/v1 is expected")
        return value.rstrip("/") if value else value

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.url is not None and self.function is not None:
            raise ValueError("give either url or function")
        return self


class Vectors(Section):
    """Vector search."""

    embeddings: Embeddings = Field(default_factory=Embeddings, description=str(Embeddings.__doc__))
