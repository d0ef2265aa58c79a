from collections.abc import Mapping, Sequence

def encode(
    claims: Mapping[str, object],
    key: object,
    algorithm: str = "HS256",
    headers: Mapping[str, object] | None = None,
    access_token: str | None = None,
) -> str: ...
def decode(
    token: str,
    key: object,
    algorithms: str | Sequence[str] | None = None,
    options: Mapping[str, object] | None = None,
    audience: str | None = None,
    issuer: str | None = None,
    subject: str | None = None,
    access_token: str | None = None,
) -> dict[str, object]: ...
