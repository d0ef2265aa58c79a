"""The keys of file storage: meaning, default, danger; it must not know where they come from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from fluxbase.config.section import Positive, Seconds, Section


class S3(Section):
    """A bucket of S3, or of a server that speaks like it; for `backend: s3`."""

    bucket: str = Field(
        default="", description="The bucket. It must exist, and be used by nobody else."
    )
    create_bucket: bool = Field(
        default=False, description="Make the bucket at the start when it is not there."
    )
    prefix: str = Field(default="", description="Goes before the name of everything that is kept.")
    endpoint_url: str | None = Field(
        default=None, description="Address of a server other than Amazon's."
    )
    region: str = Field(default="us-east-1", description="Region of the bucket.")
    access_key_id: str | None = Field(
        default=None, description="Access key; without one, that of the environment or machine."
    )
    secret_access_key: SecretStr | None = Field(default=None, description="Its secret.")
    path_style: bool = Field(
        default=False, description="Name the bucket in the path rather than in the host."
    )
    conditional_writes: bool = Field(
        default=True, description="Use If-None-Match. Turn it off for servers that refuse it."
    )
    connections: Annotated[int, Field(ge=1, le=256)] = Field(
        default=16, description="Connections, and threads that wait for them."
    )

    @field_validator("endpoint_url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("https://", "http://")):
            raise ValueError("an address such as https://s3.example.com is expected")
        return value


class Storage(Section):
    """Files: buckets and objects."""

    enabled: bool = Field(default=True, description="Offer the tools and routes of storage.")
    backend: Literal["local", "s3"] = Field(
        default="local",
        description="Where bytes are kept: `local` in a folder, for one machine; `s3` for any "
        "number.",
    )
    path: Path = Field(
        default=Path(".fluxbase/storage"), description="The folder of `backend: local`."
    )
    s3: S3 = Field(default_factory=S3, description=str(S3.__doc__))
    max_file_size: Positive = Field(
        default=2 * 1024**3,
        description="Largest object in bytes. A bucket's own `max_file_size` may be smaller.",
    )
    max_download_size: Positive = Field(
        default=10 * 1024**2,
        description="Bytes that `download_object` gives a model; more are cut off (`truncated`).",
    )
    signed_url_lifetime: Seconds = Field(
        default=7 * 86400.0, description="Longest lifetime of a signed URL."
    )
    upload_lifetime: Seconds = Field(
        default=86400.0, description="Time to finish a resumable upload."
    )
    max_uploads_per_key: Positive = Field(
        default=100, description="Resumable uploads that one key has open at a time."
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.backend == "s3" and not self.s3.bucket:
            raise ValueError("s3.bucket is needed for the backend s3")
        return self
