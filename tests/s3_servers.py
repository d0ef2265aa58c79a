"""S3 servers of a test's own, on free ports of the loopback: moto, rclone and LocalStack.

rclone checks the signature of every request, LocalStack that of signed URLs, moto none. rclone
knows no If-None-Match.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3
import httpx2
from botocore.config import Config as BotoConfig

from fluxbase.config.storage import S3
from tests.programs import ROOT

if TYPE_CHECKING:
    from collections.abc import Generator

BIN: Final = ROOT / ".venv-s3" / "bin"
KEY: Final = "ACCESSKEY1"
SECRET: Final = "a-secret-of-the-tests"
BUCKET: Final = "blobs"
SERVERS: Final = ("moto", "rclone", "localstack")
_PATIENCE: Final = 90.0


@contextmanager
def s3_server(kind: str) -> Generator[S3]:
    """Yield how to reach a server with an empty bucket; stop it at the end."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=f"fluxbase-{kind}-"))
        port = _free_port()
        command, env = _command(kind, port, Path(folder))
        log = stack.enter_context((Path(folder) / "log").open("wb"))
        process = subprocess.Popen(
            command, env={**os.environ, **env}, stdout=log, stderr=log, start_new_session=True
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(url, process)
            config = S3.model_validate(
                {
                    "bucket": BUCKET,
                    "endpoint_url": url,
                    "access_key_id": KEY,
                    "secret_access_key": SECRET,
                    "path_style": True,
                    "conditional_writes": kind != "rclone",
                    "prefix": "fluxbase/",
                }
            )
            client_of(config).create_bucket(Bucket=BUCKET)
            yield config
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def client_of(config: S3, secret: str | None = None) -> Any:
    """Return the official client, as somebody else would use it."""
    assert config.secret_access_key is not None
    return boto3.client(
        "s3",
        endpoint_url=config.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=KEY,
        aws_secret_access_key=secret or config.secret_access_key.get_secret_value(),
        config=BotoConfig(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def _command(kind: str, port: int, folder: Path) -> tuple[list[str], dict[str, str]]:
    if kind == "moto":
        return [str(BIN / "moto_server"), "-H", "127.0.0.1", "-p", str(port)], {}
    if kind == "rclone":
        place = folder / "data"
        place.mkdir()
        options = ["--addr", f"127.0.0.1:{port}", "--auth-key", f"{KEY},{SECRET}"]
        config = ["--config", str(folder / "rclone.conf")]
        return [str(BIN / "rclone"), "serve", "s3", *options, *config, str(place)], {}
    env = {
        "SERVICES": "s3",
        "S3_SKIP_SIGNATURE_VALIDATION": "0",
        "GATEWAY_LISTEN": f"127.0.0.1:{port}",
        "DISABLE_EVENTS": "1",
        "SKIP_SSL_CERT_DOWNLOAD": "1",
        "FILESYSTEM_ROOT": str(folder),
        # The key that it takes for the account of tests has this as its secret.
        "LOCALSTACK_VOLUME_DIR": str(folder),
    }
    return [str(BIN / "python"), "-m", "localstack.runtime.main"], env


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            httpx2.get(url, timeout=2)
        except httpx2.HTTPError:
            assert process.poll() is None, "the S3 server ended"
            assert time.monotonic() < end, "the S3 server does not come up"
            time.sleep(0.1)
        else:
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
