"""An https server of this machine, for what is only allowed over https."""

from __future__ import annotations

import asyncio
import datetime
import json
import ssl
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path


class Web:
    """An https server with documents, and what it takes to trust it."""

    def __init__(self, folder: Path) -> None:
        self.documents: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.heads: list[str] = []
        self.ca = folder / "ca.pem"
        self._pem = folder / "server.pem"
        self._certify()

    @property
    def base(self) -> str:
        return f"https://localhost:{self.port}"

    def publish(self, path: str, document: dict[str, Any]) -> str:
        url = f"{self.base}{path}"
        self.documents[path] = json.dumps({"client_id": url, **document}).encode()
        return url

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Web]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._pem)
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self.port: int = server.sockets[0].getsockname()[1]
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split(" ")[1]
        self.asked.append(path)
        self.heads.append(head)
        body = self.documents.get(path)
        if path == "/moved":
            answer = b"HTTP/1.1 302 Found\r\nLocation: /oauth/abc/client.json\r\n"
            body = b""
        elif path == "/slow":
            await asyncio.sleep(30)
            return
        else:
            answer = b"HTTP/1.1 200 OK\r\n" if body is not None else b"HTTP/1.1 404 No\r\n"
        length = b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body or b"")
        writer.write(answer + length + (body or b""))
        await writer.drain()
        writer.close()

    def _certify(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = datetime.datetime.now(datetime.UTC)
        names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        public = certificate.public_bytes(serialization.Encoding.PEM)
        self.ca.write_bytes(public)
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        self._pem.write_bytes(private + public)
