from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jose import jwk
from jose.exceptions import JOSEError

from fluxbase.auth.jwt import REQUIRED, Verifier
from fluxbase.auth.jwt_keys import Ed25519Key, VerificationKey, decode_base64url, load_keys
from fluxbase.errors import ConfigError, Unauthenticated

SECRET = "correct-horse-battery-staple-" * 3
NOW = 1_800_000_000
ISSUER, AUDIENCE = "https://issuer.example.com", "https://api.example.com"
RSA = rsa.generate_private_key(65537, 2048)
EC = {
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
}
SMALL = rsa.generate_private_key(65537, 1024)  # noqa: S505 - to see it refused
ED = ed25519.Ed25519PrivateKey.generate()
PRIVATE: dict[str, Any] = {"RS256": RSA, "RS384": RSA, "RS512": RSA, **EC, "EdDSA": ED}


def pem(private: Any) -> str:
    return private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()  # fmt: skip


OTHER_RSA_PEM = pem(rsa.generate_private_key(65537, 2048))


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signature(alg: str, message: bytes) -> bytes:
    if alg == "EdDSA":
        return ED.sign(message)
    return jwk.construct(PRIVATE.get(alg, SECRET), alg).sign(message)


def token(alg: str = "HS256", header: dict[str, Any] | None = None, **changes: Any) -> str:
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "user-1",
        "iat": NOW,
        "exp": NOW + 600,
        "jti": "t-1",
        **changes,
    }
    claims = {name: value for name, value in claims.items() if value is not ...}
    parts = [{"alg": alg, **(header or {})}, claims]
    message = ".".join(b64(json.dumps(part).encode()) for part in parts)
    return f"{message}.{b64(signature(alg, message.encode()))}"


def verifier(*keys: VerificationKey, **changes: Any) -> Verifier:
    return Verifier(keys or load_keys(secret=SECRET), ISSUER, (AUDIENCE, "second"), **changes)


def public(kid: str | None, alg: str) -> tuple[str | None, str, str]:
    return kid, alg, pem(PRIVATE[alg])


def jwks(*entries: dict[str, Any]) -> str:
    return json.dumps({"keys": entries})


def number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def rsa_entry(**more: Any) -> dict[str, Any]:
    numbers = RSA.public_key().public_numbers()
    return {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e), **more}


def ec_entry(private: str, curve: str, **more: Any) -> dict[str, Any]:
    numbers = EC[private].public_key().public_numbers()
    return {"kty": "EC", "crv": curve, "x": number(numbers.x), "y": number(numbers.y), **more}


def ed_entry(**more: Any) -> dict[str, Any]:
    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": b64(ED.public_key().public_bytes_raw()),
        **more,
    }


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
def test_a_token_of_a_shared_secret_is_accepted(alg: str):
    keys = load_keys(secret=SECRET, hmac_alg=alg)
    assert verifier(*keys).verify(token(alg), NOW)["sub"] == "user-1"


@pytest.mark.parametrize("alg", PRIVATE)
def test_a_token_of_each_public_key_algorithm_is_accepted(alg: str):
    keys = load_keys(public_keys=[public("a", alg)])
    assert verifier(*keys).verify(token(alg, {"kid": "a"}), NOW)["jti"] == "t-1"


def test_a_jwks_gives_the_same_keys():
    text = jwks(
        rsa_entry(kid="r", use="sig"),
        rsa_entry(kid="r5", alg="RS512", key_ops=["verify"]),
        ec_entry("ES256", "P-256", kid="p"),
        ec_entry("ES512", "P-521", kid="p5"),
        ed_entry(kid="o"),
    )
    keys = load_keys(jwks=text)
    assert [(key.kid, key.alg) for key in keys] == [
        ("r", "RS256"),
        ("r5", "RS512"),
        ("p", "ES256"),
        ("p5", "ES512"),
        ("o", "EdDSA"),
    ]
    for key in keys:
        assert verifier(*keys).verify(token(key.alg, {"kid": key.kid}), NOW)


def test_jwks_entries_for_other_uses_are_passed_over():
    text = jwks(
        rsa_entry(kid="r"),
        rsa_entry(kid="enc", use="enc"),
        rsa_entry(kid="wrap", key_ops=["wrapKey"]),
        rsa_entry(kid="odd", key_ops="verify"),
        rsa_entry(kid="pss", alg="PS256"),
        ec_entry("ES256", "secp256k1", kid="k1"),
        {"kty": "future", "alg": "ES256", "kid": "f"},
        {"kty": "OKP", "crv": "Ed448", "x": "AA"},
    )
    assert [key.kid for key in load_keys(jwks=text)] == ["r"]


def test_now_is_the_clock_by_default():
    with pytest.raises(Unauthenticated):
        verifier().verify(token(iat=0, exp=100))


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "AT+JWT"])
def test_the_usual_types_are_accepted(kind: str):
    assert verifier().verify(token(header={"typ": kind}), NOW)


@pytest.mark.parametrize("aud", [AUDIENCE, "second", ["other", AUDIENCE], [AUDIENCE]])
def test_one_common_audience_is_enough(aud: object):
    assert verifier().verify(token(aud=aud), NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": NOW - 59, "iat": NOW - 600},
        {"iat": NOW + 60},
        {"nbf": NOW + 60},
        {"exp": NOW + 3600},
        {"exp": NOW + 0.5},
        {"iat": NOW - 1.5},
        {"extra": {"deep": [1, {"a": None}]}},
    ],
)
def test_what_is_at_the_limit_is_accepted(changes: dict[str, Any]):
    assert verifier().verify(token(**changes), NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": NOW - 60, "iat": NOW - 600},
        {"iat": NOW + 61},
        {"nbf": NOW + 61},
        {"exp": NOW + 3601},
        {"iat": NOW + 30, "exp": NOW + 30},
        {"iat": NOW - 10, "exp": NOW - 20},
        {"iss": ISSUER + "/"},
        {"iss": [ISSUER]},
        {"iss": None},
        {"sub": ""},
        {"sub": "x" * 256},
        {"sub": 7},
        {"sub": "a\x00b"},
        {"jti": ""},
        {"jti": 1},
    ],
)
def test_what_is_over_the_limit_is_refused(changes: dict[str, Any]):
    with pytest.raises(Unauthenticated):
        verifier().verify(token(**changes), NOW)


@pytest.mark.parametrize("name", REQUIRED)
def test_each_claim_is_required(name: str):
    with pytest.raises(Unauthenticated) as caught:
        verifier().verify(token("HS256", {}, **{name: ...}), NOW)
    assert name in str(caught.value.__cause__)
    assert caught.value.as_dict() == Unauthenticated().as_dict()


def test_iat_and_jti_can_be_made_optional_but_then_the_life_left_is_bounded():
    lax = verifier(required=("exp", "sub", "iss", "aud"))
    assert lax.verify(token(iat=..., jti=..., exp=NOW + 3600), NOW)
    with pytest.raises(Unauthenticated):
        lax.verify(token(iat=..., exp=NOW + 3601), NOW)
    with pytest.raises(Unauthenticated):
        lax.verify(token(jti=""), NOW)


def test_a_claim_can_be_made_required():
    strict = verifier(required=(*REQUIRED, "client_id"))
    assert strict.verify(token(client_id="c"), NOW)
    with pytest.raises(Unauthenticated):
        strict.verify(token(), NOW)


def test_kid_selects_the_key():
    keys = load_keys(
        secret=SECRET, public_keys=[public("a", "RS256"), ("b", "RS256", OTHER_RSA_PEM)]
    )
    check = verifier(*keys)
    assert check.verify(token("RS256", {"kid": "a"}), NOW)
    for header in ({"kid": "b"}, {"kid": "c"}, {"kid": ""}, {"kid": 1}, {"kid": None}, {}):
        with pytest.raises(Unauthenticated):
            check.verify(token("RS256", header), NOW)


def test_a_key_without_kid_answers_to_every_kid_of_its_algorithm():
    keys = load_keys(secret=SECRET, public_keys=[public("a", "RS256")])
    assert verifier(*keys).verify(token("HS256", {"kid": "anything"}), NOW)
    # Not where the kid is that of another key: then only that key counts.
    with pytest.raises(Unauthenticated):
        verifier(*keys).verify(token("HS256", {"kid": "a"}), NOW)


def test_a_token_without_kid_needs_exactly_one_key_of_its_algorithm():
    one = load_keys(secret=SECRET, public_keys=[public("a", "RS256"), public("b", "ES256")])
    assert verifier(*one).verify(token("ES256"), NOW)
    with pytest.raises(Unauthenticated):
        verifier(*one).verify(token("ES384"), NOW)


@pytest.mark.parametrize(
    ("secret", "alg"),
    [
        ("", "HS256"),
        ("x", "HS256"),
        (SECRET[:31], "HS256"),
        (SECRET[:47], "HS384"),
        (SECRET[:63], "HS512"),
        (SECRET, "RS256"),
        (SECRET, "none"),
        ("ab" * 40, "HS256"),
        ("super-secret-jwt-token-with-at-least-32-characters-long", "HS256"),
        (OTHER_RSA_PEM, "HS256"),
    ],
)
def test_a_weak_secret_is_refused_at_the_start(secret: str, alg: str):
    with pytest.raises(ConfigError) as caught:
        load_keys(secret=secret, hmac_alg=alg)
    assert len(secret) < 2 or secret not in str(caught.value.as_dict())


def test_a_secret_that_is_not_utf8_keeps_its_bytes():
    raw = bytes(range(200, 240))
    (key,) = load_keys(secret=raw.decode(errors="surrogateescape"))
    assert key.accepts(b"message", jwk.construct(raw, "HS256").sign(b"message"))


def private_pem(form: serialization.PrivateFormat) -> str:
    return RSA.private_bytes(
        serialization.Encoding.PEM, form, serialization.NoEncryption()
    ).decode()


@pytest.mark.parametrize(
    "entry",
    [
        ("a", "RS256", private_pem(serialization.PrivateFormat.PKCS8)),
        ("a", "RS256", private_pem(serialization.PrivateFormat.TraditionalOpenSSL)),
        ("a", "RS256", private_pem(serialization.PrivateFormat.OpenSSH)),
        ("a", "RS256", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
        ("a", "RS256", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ("a", "RS256", ""),
        ("", "RS256", OTHER_RSA_PEM),
        ("a", "RS256", pem(EC["ES256"])),
        ("a", "ES256", pem(EC["ES384"])),
        ("a", "ES256", OTHER_RSA_PEM),
        ("a", "EdDSA", OTHER_RSA_PEM),
        ("a", "EdDSA", pem(ed448.Ed448PrivateKey.generate())),
        ("a", "HS256", OTHER_RSA_PEM),
        ("a", "none", OTHER_RSA_PEM),
        ("a", "RSA-OAEP", OTHER_RSA_PEM),
        ("a", "PS256", OTHER_RSA_PEM),
        ("a", "RS256", pem(SMALL)),
    ],
)
def test_a_public_key_that_cannot_be_meant_is_refused_at_the_start(entry: tuple[str, str, str]):
    with pytest.raises(ConfigError, match="public key 1"):
        load_keys(public_keys=[entry])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"keys":{}}',
        '{"keys":[]}',
        '{"keys":[1]}',
        '{"keys":[],"keys":[]}',
        "\udcff",
        jwks(rsa_entry(d="AQAB")),
        jwks(rsa_entry(p="AQAB")),
        jwks(ec_entry("ES256", "P-256", d="AQAB")),
        jwks(ed_entry(d="AQAB")),
        jwks(rsa_entry(), {"kty": "oct", "k": b64(SECRET.encode()), "alg": "HS256"}),
        jwks(rsa_entry(), {"kty": "oct"}),
        jwks(rsa_entry(use="enc")),
        jwks(rsa_entry(kid=7)),
        jwks(rsa_entry(kid="")),
        jwks(rsa_entry(n=number(SMALL.public_key().public_numbers().n))),
        jwks(rsa_entry(n="A+A")),
        jwks(rsa_entry(n=1)),
        jwks(rsa_entry(e="Ag")),
        jwks({"kty": "RSA"}),
        jwks(rsa_entry(alg="ES256")),
        jwks(ec_entry("ES256", "P-384")),
        jwks(ec_entry("ES256", "P-256", x="AA")),
        jwks(ec_entry("ES256", "P-256", alg="ES384")),
        jwks(ed_entry(x="AA")),
        jwks(rsa_entry(kid="a"), ec_entry("ES256", "P-256", kid="a")),
        jwks(rsa_entry(), rsa_entry()),
    ],
)
def test_a_jwks_that_cannot_be_meant_is_refused_at_the_start(text: str):
    with pytest.raises(ConfigError) as caught:
        load_keys(jwks=text)
    assert b64(SECRET.encode()) not in str(caught.value.as_dict())


def test_one_kid_from_two_sources_is_refused():
    with pytest.raises(ConfigError, match="same kid"):
        load_keys(public_keys=[public("a", "RS256")], jwks=jwks(ed_entry(kid="a")))


def test_no_source_gives_no_key():
    assert load_keys() == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"keys": ()},
        {"issuer": ""},
        {"audience": ()},
        {"audience": ("",)},
        {"max_lifetime": 0},
        {"skew": -1},
        {"skew": 301},
        {"required": ("exp", "sub", "iss")},
    ],
)
def test_a_verifier_that_would_let_too_much_pass_cannot_be_made(changes: dict[str, Any]):
    options: dict[str, Any] = {
        "keys": load_keys(secret=SECRET),
        "issuer": ISSUER,
        "audience": (AUDIENCE,),
    }
    assert Verifier(**options)
    with pytest.raises(ConfigError):
        Verifier(**{**options, **changes})


def test_a_key_does_not_show_itself():
    assert SECRET not in repr(load_keys(secret=SECRET))


def test_the_ed25519_key_takes_nothing_else():
    with pytest.raises(JOSEError):
        Ed25519Key(SECRET, "EdDSA")


@pytest.mark.parametrize("text", ["A", "AB", "AA==", "A A", "AA\n", "+/", "AAAAA", "\u00e9"])
def test_base64url_has_one_spelling(text: str):
    with pytest.raises(ValueError, match="base64"):
        decode_base64url(text)
    assert decode_base64url("") == b""
    assert decode_base64url("-_-_") == base64.urlsafe_b64decode("-_-_")
