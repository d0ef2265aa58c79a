from botocore.config import Config

class S3Client:
    def __getattr__(self, name: str) -> object: ...

def client(
    service_name: str,
    *,
    endpoint_url: str | None = None,
    region_name: str | None = None,
    aws_access_key_id: str | None = None,
    aws_secret_access_key: str | None = None,
    config: Config | None = None,
) -> S3Client: ...
