from collections.abc import Mapping

class Config:
    def __init__(
        self,
        *,
        connect_timeout: float = ...,
        read_timeout: float = ...,
        retries: Mapping[str, object] = ...,
        max_pool_connections: int = ...,
        s3: Mapping[str, object] = ...,
        request_checksum_calculation: str = ...,
        response_checksum_validation: str = ...,
    ) -> None: ...
