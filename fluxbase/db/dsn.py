"""Makes the addresses of the logins from one address; it must not connect to any of them."""

from __future__ import annotations

from base64 import b64encode
from hashlib import pbkdf2_hmac, sha256
from hmac import digest
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from fluxbase.errors import ConfigError

SCRAM_ITERATIONS = 4096


def with_login(url: str, user: str, password: str) -> str:
    """Return `url` with another user and password; everything else stays."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    query = urlencode([(k, v) for k, v in parse_qsl(parts.query) if k not in ("user", "password")])
    login = f"{quote(user, safe='')}:{quote(password, safe='')}@"
    return urlunsplit((parts.scheme, login + host, parts.path, query, ""))


def same_login(url: str, other: str) -> str:
    """Return `url` with the user and password of `other`."""
    parts = urlsplit(other)
    return with_login(url, unquote(parts.username or ""), unquote(parts.password or ""))


def with_database(url: str, database: str) -> str:
    """Return `url` leading to another database of the same cluster."""
    return urlunsplit(urlsplit(url)._replace(path="/" + quote(database, safe="")))


def database_of(url: str) -> str:
    """Return the name of the database in `url`.

    Raises:
        ConfigError: the address is not a Postgres one, or names no database.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("postgres", "postgresql"):
        raise ConfigError("database.url: an address such as postgresql://user@host/db is expected")
    name = unquote(parts.path.lstrip("/"))
    if not name:
        raise ConfigError("database.url: the name of the database is missing (…/name)")
    return name


def socket_url(socket_dir: str, port: int, user: str, password: str, database: str) -> str:
    """Return the address of a database behind a Unix socket."""
    query = urlencode({"host": socket_dir, "port": port})
    login = f"{quote(user, safe='')}:{quote(password, safe='')}@"
    return f"postgresql://{login}/{quote(database, safe='')}?{query}"


def scram_verifier(password: str, salt: bytes) -> str:
    """Return what Postgres stores for `password`, so that the password itself is never sent.

    Source: RFC 5802, and the format of pg_authid.rolpassword.
    """
    salted = pbkdf2_hmac("sha256", password.encode(), salt, SCRAM_ITERATIONS)
    stored = sha256(digest(salted, b"Client Key", "sha256")).digest()
    server = digest(salted, b"Server Key", "sha256")
    text = [b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${SCRAM_ITERATIONS}:{text[0]}${text[1]}:{text[2]}"
