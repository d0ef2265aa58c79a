"""Any JSON value is judged: it is a message, nothing to answer, or a refusal that says why."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.inbound import encode_header_value

from fluxbase.mcp.inbound import Message, Response, id_of, judge
from fluxbase.mcp.wire import ASSUMED, LEGACY, META, MODERN, SUPPORTED, ProtocolError

VERSION, METHOD, NAME = "mcp-protocol-version", "mcp-method", "mcp-name"
NOW = MODERN[-1]
ENVELOPE: dict[str, Any] = {META + "protocolVersion": NOW, META + "clientCapabilities": {}}


def request(method: object = "tools/list", **members: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, **members}


def modern(method: str = "tools/list", **params: Any) -> dict[str, Any]:
    return request(method, params={"_meta": ENVELOPE, **params})


def headers(method: str = "tools/list", name: str | None = None) -> dict[str, str]:
    sent = {VERSION: NOW, METHOD: method}
    return sent if name is None else {**sent, NAME: name}


def refusal(body: object, sent: dict[str, str] | None = None) -> ProtocolError:
    with pytest.raises(ProtocolError) as refused:
        judge(body, sent or {})
    return refused.value


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
VALUES = JSON | st.sampled_from(["2.0", "tools/call", "initialize", *SUPPORTED])
NEARLY = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0") | VALUES},
    optional={
        "id": VALUES,
        "method": VALUES,
        "result": VALUES,
        "error": VALUES,
        "params": VALUES
        | st.fixed_dictionaries(
            {},
            optional={
                "_meta": VALUES
                | st.fixed_dictionaries(
                    {},
                    optional={
                        META + "protocolVersion": VALUES,
                        META + "clientCapabilities": VALUES,
                    },
                ),
                "name": VALUES,
                "uri": VALUES,
            },
        ),
    },
)
SENT = st.dictionaries(
    st.sampled_from([VERSION, METHOD, NAME]),
    st.text(st.characters(max_codepoint=255))
    | st.sampled_from([*SUPPORTED, "tools/call", "=?base64??=", "=?base64?=", "=?base64?4pyT?="]),
)


@given(body=JSON | NEARLY, sent=SENT)
def test_any_json_is_judged_without_any_other_error(body: Any, sent: dict[str, str]) -> None:
    message = refused = None
    try:
        message = judge(body, sent)
    except ProtocolError as error:
        refused = error
    assert not isinstance(message, Message) or message.version in SUPPORTED
    assert refused is None or refused.http_status == 400
    assert refused is None or refused.rpc_code in (-32600, -32602, -32020, -32022)
    assert id_of(body) is None or isinstance(id_of(body), str | int)


@given(name=st.text())
def test_any_name_survives_the_header_as_the_official_client_writes_it(name: str) -> None:
    sent = headers("tools/call", encode_header_value(name))
    message = judge(modern("tools/call", name=name), sent)
    assert isinstance(message, Message)
    assert message.params["name"] == name


def test_without_a_version_a_request_is_of_the_assumed_one() -> None:
    assert judge(request(), {}) == Message("tools/list", {}, 1, False, ASSUMED, False)


@pytest.mark.parametrize("version", LEGACY)
def test_the_header_names_a_legacy_version(version: str) -> None:
    message = judge(request(), {VERSION: version})
    assert isinstance(message, Message)
    assert (message.version, message.modern) == (version, False)


@pytest.mark.parametrize("version", LEGACY)
def test_a_legacy_version_in_the_body_is_spoken_too(version: str) -> None:
    body = request(params={"_meta": {META + "protocolVersion": version}})
    for sent in ({}, {VERSION: version}):
        message = judge(body, sent)
        assert isinstance(message, Message)
        assert (message.version, message.modern) == (version, False)


def test_null_params_are_no_params() -> None:
    message = judge(request(params=None), {})
    assert isinstance(message, Message)
    assert message.params == {}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (None, -32600),
        ([], -32600),
        ("tools/list", -32600),
        ({}, -32600),
        ({"jsonrpc": "1.0", "id": 1, "method": "ping"}, -32600),
        ({"jsonrpc": 2.0, "id": 1, "method": "ping"}, -32600),
        ({"jsonrpc": "2.0", "id": 1}, -32600),
        (request(method=None), -32600),
        (request(method=5), -32600),
        (request(id=None), -32600),
        (request(id=True), -32600),
        (request(id=1.5), -32600),
        (request(id=[1]), -32600),
        (request(id="x" * 129), -32600),
        (request(id=2**53), -32600),
        (request(extra=1), -32600),
        (request(result={}), -32600),
        (request(error={}), -32600),
        (request(params=[1]), -32602),
        (request(params="x"), -32602),
        (request(params={"_meta": {META + "protocolVersion": 5}}), -32602),
        (request(params={"_meta": {META + "protocolVersion": NOW}}), -32020),
    ],
)
def test_what_is_not_json_rpc_is_refused(body: object, code: int) -> None:
    assert refusal(body).rpc_code == code


@pytest.mark.parametrize("id_", [0, -1, 2**53 - 1, "", "x" * 128, "☃"])
def test_ids_are_texts_and_integers(id_: str | int) -> None:
    message = judge(request(id=id_), {})
    assert isinstance(message, Message)
    assert message.id == id_ == id_of(request(id=id_))


def test_a_message_without_id_is_a_notification() -> None:
    message = judge({"jsonrpc": "2.0", "method": "notifications/initialized"}, {})
    assert isinstance(message, Message)
    assert message.is_notification


@pytest.mark.parametrize(
    "body",
    [
        {"jsonrpc": "2.0", "id": 1, "result": {}},
        {"jsonrpc": "2.0", "id": None, "error": {"code": 1, "message": ""}},
    ],
)
def test_a_response_is_nothing_to_answer_in_the_legacy_era_only(body: dict[str, Any]) -> None:
    assert judge(body, {}) == Response(body["id"], body)
    assert judge(body, {VERSION: LEGACY[-1]}) == Response(body["id"], body)
    assert refusal(body, {VERSION: NOW}).rpc_code == -32600


def test_a_modern_request_is_known_by_its_envelope() -> None:
    message = judge(modern(), headers())
    assert isinstance(message, Message)
    assert (message.version, message.modern) == (NOW, True)


@pytest.mark.parametrize("missing", list(ENVELOPE))
def test_an_envelope_without_a_required_field_is_refused(missing: str) -> None:
    body = request(params={"_meta": {k: v for k, v in ENVELOPE.items() if k != missing}})
    assert refusal(body, headers()).rpc_code == -32602


@pytest.mark.parametrize("meta", [None, 5, [], {}, {META + "clientCapabilities": {}}])
def test_a_modern_header_asks_for_an_envelope(meta: object) -> None:
    assert refusal(request(params={"_meta": meta}), headers()).rpc_code == -32602
    assert refusal(request(), headers()).rpc_code == -32602


@pytest.mark.parametrize(
    "wrong",
    [
        {VERSION: None},
        {VERSION: "2025-11-25"},
        {VERSION: "2027-01-01"},
        {VERSION: NOW + ", " + NOW},
        {METHOD: None},
        {METHOD: "tools/call"},
        {METHOD: "TOOLS/LIST"},
        {METHOD: "=?base64?dG9vbHMvbGlzdA==?="},
    ],
)
def test_a_header_that_differs_from_the_body_is_refused(wrong: dict[str, str | None]) -> None:
    sent = {k: v for k, v in {**headers(), **wrong}.items() if v is not None}
    assert refusal(modern(), sent).rpc_code == -32020


def b64(data: bytes) -> str:
    return f"=?base64?{base64.b64encode(data).decode()}?="


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("query_table", None),
        ("query_table", ""),
        ("query_table", "count_records"),
        ("query_table", "QUERY_TABLE"),
        ("query_table", "query_table, query_table"),
        ("query_table", b64(b"count_records")),
        ("query_table", b64(b"query_table").replace("base64", "BASE64")),
        ("query_table", "=?base64?cXVlcnlfdGFibGU?="),
        ("query_table", "=?base64?!?="),
        ("query_table", "=?base64?="),
        ("a", "=?base64?YR==?="),
        ("ü", "ü"),
        ("ü", b64("ü".encode("latin-1"))),
        (None, "query_table"),
        (5, "5"),
    ],
)
def test_a_name_header_that_differs_is_refused(name: object, header: str | None) -> None:
    sent = headers("tools/call", header)
    assert refusal(modern("tools/call", name=name), sent).rpc_code == -32020


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("tools/call", {"name": "query_table"}),
        ("prompts/get", {"name": "query_table"}),
        ("resources/read", {"uri": "query_table"}),
    ],
)
def test_the_name_header_carries_the_name_or_the_uri(method: str, params: dict[str, str]) -> None:
    for header in ("query_table", b64(b"query_table")):
        assert judge(modern(method, **params), headers(method, header)) is not None


@pytest.mark.parametrize("spoken", ["2027-01-01", "1900-01-01", "", "draft", "x" * 500])
def test_an_unknown_version_is_told_the_known_ones(spoken: str) -> None:
    body = request(params={"_meta": {**ENVELOPE, META + "protocolVersion": spoken}})
    notification = {"jsonrpc": "2.0", "method": "notifications/x"}
    # Only the modern era names a version in the message, so only that one is of use there.
    for refused, known in (
        (refusal(body, {**headers(), VERSION: spoken}), MODERN),
        (refusal(request(), {VERSION: spoken}), SUPPORTED),
        (refusal(notification, {VERSION: spoken}), SUPPORTED),
    ):
        assert refused.rpc_code == -32022
        assert refused.http_status == 400
        assert refused.data == {"supported": list(known), "requested": spoken[:32]}
