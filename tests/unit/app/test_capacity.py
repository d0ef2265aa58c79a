"""Connections are counted for all workers together, and our own Postgres has room for them."""

from __future__ import annotations

from typing import Any

import pytest

from fluxbase.app.capacity import Capacity, embedded_settings
from fluxbase.config import Config


def config(workers: int, **settings: Any) -> Config:
    database = {"embedded": {"settings": settings}}
    return Config.model_validate({"server": {"workers": workers}, "database": database})


@pytest.mark.parametrize(("workers", "fits"), [(1, True), (4, True), (5, False)])
def test_pools_fit_while_all_workers_together_do(workers: int, fits: bool) -> None:
    found = Capacity(workers, 24, 97)
    assert found.fits is fits
    assert f"at most {workers * 24} connections" in found.text


def test_our_own_postgres_grows_with_the_workers_unless_told_otherwise() -> None:
    assert embedded_settings(config(2)) == {}
    assert embedded_settings(config(8)) == {"max_connections": str(8 * 29 + 10)}
    assert embedded_settings(config(8, max_connections="40")) == {"max_connections": "40"}
