"""Addresses of logins are made from one another without losing anything."""

from __future__ import annotations

import pytest

from fluxbase.db.dsn import database_of, same_login, socket_url, with_database, with_login
from fluxbase.errors import ConfigError


def test_a_login_is_replaced_and_everything_else_stays() -> None:
    url = "postgresql://a:p%40b@h1:1,h2:2/db?sslmode=verify-full&user=x&password=y"
    made = with_login(url, "b/c", "p@ss word")
    assert made == "postgresql://b%2Fc:p%40ss%20word@h1:1,h2:2/db?sslmode=verify-full"


def test_a_replica_is_entered_with_the_login_of_the_primary() -> None:
    other = socket_url("/run/x y", 5, "db_client", "s/e:c@r", "db")
    assert same_login("postgresql://replica:7/db", other) == (
        "postgresql://db_client:s%2Fe%3Ac%40r@replica:7/db"
    )


def test_the_database_of_an_address() -> None:
    assert database_of(with_database("postgres://h/one", "t wo")) == "t wo"
    for wrong in ("mysql://h/db", "postgresql://h", "postgresql://h/"):
        with pytest.raises(ConfigError, match=r"database\.url"):
            database_of(wrong)
