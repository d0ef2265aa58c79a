"""Which replica a read may go to, if any."""

from __future__ import annotations

import time
from typing import Any, cast

from fluxbase.db.replicas import Replica, Replicas, lsn
from fluxbase.principal import Principal

WHO = Principal("client_key", "k1", "k1", "role", "{}", frozenset())
OTHER = Principal("client_key", "k2", "k2", "role", "{}", frozenset())
SERVICE = Principal("service_key", "s", "s", "service_role", "{}", frozenset())


def replica(position: str = "0/10", age: float = 0) -> Replica:
    return Replica("", cast("Any", object()), lsn(position), time.monotonic() - age)


def test_positions_compare_as_numbers() -> None:
    assert lsn("0/FFFFFFFF") < lsn("1/0") < lsn("1/10") < lsn("A/0")


def test_replicas_take_turns() -> None:
    one, two = replica(), replica()
    chosen = [Replicas([one, two]).choose(WHO)]
    both = Replicas([one, two])
    chosen = [both.choose(WHO) for _ in range(4)]
    assert chosen == [one, two, one, two]


def test_service_keys_and_silent_replicas_stay_with_the_primary() -> None:
    both = Replicas([replica(age=6), Replica("", cast("Any", object()))])
    assert both.choose(WHO) is None
    assert Replicas([replica()]).choose(SERVICE) is None
    assert not Replicas([])


def test_a_caller_reads_where_its_writes_are_and_others_go_on() -> None:
    behind, ahead = replica("0/10"), replica("0/30")
    both = Replicas([behind, ahead])
    both.wrote(WHO, "0/20")
    assert {id(both.choose(WHO)) for _ in range(4)} == {id(ahead)}
    assert len({id(both.choose(OTHER)) for _ in range(4)}) == 2
    both.wrote(WHO, "0/18")  # an answer that came late must not take anything back
    assert {id(both.choose(WHO)) for _ in range(4)} == {id(ahead)}


def test_a_caller_whose_write_is_unknown_reads_the_primary_until_its_next_one() -> None:
    both = Replicas([replica("0/30")])
    both.lost_track(WHO)
    assert both.choose(WHO) is None
    both.wrote(WHO, "0/20")
    assert both.choose(WHO) is not None


def test_a_replica_that_has_not_seen_the_catalogs_state_is_for_nobody() -> None:
    both = Replicas([replica("0/30")])
    both.catalog_loaded("0/31")
    assert both.choose(OTHER) is None


def test_what_a_forgotten_caller_wrote_binds_all() -> None:
    behind, ahead = Replicas([replica("0/30")]), Replicas([replica("0/50")])
    for replicas in (behind, ahead):
        replicas.wrote(WHO, "0/40")
        for n in range(10_000):
            replicas.wrote(Principal("client_key", f"{n}", "", "", "", frozenset()), "0/1")
    assert behind.choose(WHO) is None
    assert ahead.choose(WHO) is not None
