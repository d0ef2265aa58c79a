"""Finding F6 and its relatives: tokens plain python-jose accepts, and the wrapper refuses."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import string
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from jose import jwk, jwt
from jose.exceptions import JOSEError

from fluxbase.auth.jwt import Verifier
from fluxbase.auth.jwt_keys import VerificationKey, load_keys
from fluxbase.errors import ConfigError, Unauthenticated

SECRET = "a-shared-secret-of-enough-bytes-0123456789"
# In the past, so that plain jose, which knows only the clock, finds no token issued in future.
NOW = 1_700_000_000
FAR = 4_000_000_000
ISSUER, AUDIENCE = "https://issuer.example.com", "https://api.example.com"
RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
SPKI = serialization.PublicFormat.SubjectPublicKeyInfo
PEM = RSA.public_key().public_bytes(serialization.Encoding.PEM, SPKI)
DER = RSA.public_key().public_bytes(serialization.Encoding.DER, SPKI)
PKCS1 = RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1)
LETTERS = string.ascii_letters + string.digits + "-_"


def pem(private: Any) -> str:
    return private.public_key().public_bytes(serialization.Encoding.PEM, SPKI).decode()


KEYS = load_keys(
    secret=SECRET,
    public_keys=[("rsa", "RS256", pem(RSA)), ("ec", "ES256", pem(EC)), ("ed", "EdDSA", pem(ED))],
)
VERIFIER = Verifier(KEYS, ISSUER, (AUDIENCE,))
CLAIMS = {
    "iss": ISSUER,
    "aud": AUDIENCE,
    "sub": "user-1",
    "iat": NOW,
    "exp": NOW + 600,
    "jti": "t-1",
}


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def sign(alg: str, message: bytes, key: object = SECRET) -> bytes:
    match alg:
        case "RS256":
            return jwk.construct(RSA, alg).sign(message)
        case "ES256":
            return jwk.construct(EC, alg).sign(message)
        case "EdDSA":
            return ED.sign(message)
        case _:
            return jwk.construct(key, "HS256").sign(message)


def forge(header: object, claims: object, alg: str = "HS256", key: object = SECRET) -> str:
    """Return a token with a right signature over whatever was asked for; str is taken raw."""
    texts = [part if isinstance(part, str) else json.dumps(part) for part in (header, claims)]
    message = ".".join(b64(text.encode()) for text in texts)
    return f"{message}.{b64(sign(alg, message.encode(), key))}"


def refused(token: str, now: float = NOW, verifier: Verifier = VERIFIER) -> None:
    with pytest.raises(Unauthenticated) as caught:
        verifier.verify(token, now)
    assert caught.value.as_dict() == Unauthenticated().as_dict()


def plain(token: str, key: object = SECRET, algorithms: Any = ("HS256",)) -> dict[str, object]:
    """Read a token as most programs do with python-jose, asking for all it can check."""
    return jwt.decode(token, key, algorithms, audience=AUDIENCE, issuer=ISSUER)


def claims(**changes: object) -> dict[str, object]:
    """Return claims alive for plain jose's clock; `...` takes one away."""
    alive = {**CLAIMS, "exp": FAR, **changes}
    return {name: value for name, value in alive.items() if value is not ...}


HEADER = {"alg": "HS256", "typ": "JWT"}
TWICE = json.dumps(claims())[:-1]

ACCEPTED_BY_JOSE = {
    "no aud": (HEADER, claims(aud=...)),
    "no exp": (HEADER, claims(exp=...)),
    "exp is text": (HEADER, claims(exp=str(FAR))),
    "exp in 10^18": (HEADER, claims(exp=10**18)),
    "iat in the future": (HEADER, claims(iat=FAR - 10)),
    "iat is text": (HEADER, claims(iat=str(NOW))),
    "no iat": (HEADER, claims(iat=...)),
    "no sub": (HEADER, claims(sub=...)),
    "an empty sub": (HEADER, claims(sub="")),
    "no jti": (HEADER, claims(jti=...)),
    "a life of decades": (HEADER, claims()),
    "an audience beside numbers": (HEADER, claims(exp=FAR, aud=[AUDIENCE, ""])),
    "unknown crit": ({**HEADER, "crit": ["x"], "x": 1}, claims()),
    "crit on b64": ({**HEADER, "crit": ["b64"], "b64": False}, claims()),
    "another typ": ({**HEADER, "typ": "logout+jwt"}, claims()),
    "typ is a number": ({**HEADER, "typ": 5}, claims()),
    "jku": ({**HEADER, "jku": "https://evil.example.com/jwks"}, claims()),
    "jwk": ({**HEADER, "jwk": {"kty": "oct", "k": "AA"}}, claims()),
    "x5u": ({**HEADER, "x5u": "https://evil.example.com/x"}, claims()),
    "x5c": ({**HEADER, "x5c": ["AA"]}, claims()),
    "zip": ({**HEADER, "zip": "DEF"}, claims()),
    "sub twice": (HEADER, TWICE + ',"sub":"admin"}'),
    "exp twice": (HEADER, TWICE.replace(str(FAR), str(NOW)) + f',"exp":{FAR}}}'),
    "sub twice, once escaped": (HEADER, TWICE + ',"s\\u0075b":"admin"}'),
    "alg twice": ('{"alg":"none","alg":"HS256"}', claims()),
    "NaN": (HEADER, TWICE + ',"x":NaN}'),
    "half a surrogate": (HEADER, TWICE + ',"x":"\\ud800"}'),
    "a kid nobody has text for": ({**HEADER, "kid": 7}, claims()),
    "20 kB": (HEADER, claims(x="x" * 20_000)),
    "a header of 9 kB": ({**HEADER, "x": "x" * 9_000}, claims()),
    "100 levels": (HEADER, TWICE + ',"x":' + "[" * 100 + "]" * 100 + "}"),
}


@pytest.mark.parametrize("case", ACCEPTED_BY_JOSE)
def test_what_plain_jose_accepts_is_refused(case: str):
    header, payload = ACCEPTED_BY_JOSE[case]
    plain(forge(header, payload))  # the planted control
    # The time limit alone must not be what refuses: judge it as if exp were near, too.
    refused(forge(header, payload), NOW)
    if case not in {"a life of decades", "iat in the future"}:
        near = payload if isinstance(payload, str) else json.dumps(payload)
        refused(forge(header, near.replace(str(FAR), str(NOW + 600))), NOW)


def test_the_cases_are_refused_for_their_own_reason():
    assert VERIFIER.verify(forge(HEADER, CLAIMS), NOW)
    assert VERIFIER.verify(forge(HEADER, json.dumps(CLAIMS)), NOW)
    assert plain(forge(HEADER, claims()))


@pytest.mark.parametrize("secret", ["", "x", "short"])
def test_a_short_secret_signs_for_jose_but_never_gets_loaded_here(secret: str):
    assert plain(forge(HEADER, claims(), key=secret), secret)
    with pytest.raises(ConfigError):
        load_keys(secret=secret)


def test_no_list_of_algorithms_means_all_for_jose_and_one_per_key_here():
    token = forge(HEADER, claims(), key=DER)
    assert plain(token, DER, None)
    refused(forge(HEADER, CLAIMS, key=DER))


@pytest.mark.parametrize("kid", [{}, {"kid": "rsa"}, {"kid": "ec"}, {"kid": "unknown"}])
@pytest.mark.parametrize("key", [PEM, PEM.strip(), DER, PKCS1, PEM.replace(b"\n", b"\r\n"), b"\n"])
def test_a_public_key_is_never_a_shared_secret(key: bytes, kid: dict[str, str]):
    for only in (KEYS, KEYS[1:], KEYS[1:2]):
        refused(forge_hmac({**HEADER, **kid}, key), NOW, Verifier(only, ISSUER, (AUDIENCE,)))


def forge_hmac(header: object, key: bytes) -> str:
    """Sign with any bytes, also those jose recognises as a public key."""
    message = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(CLAIMS).encode())}"
    return f"{message}.{b64(hmac.digest(key, message.encode(), hashlib.sha256))}"


def test_jose_takes_a_der_key_for_a_shared_secret():
    message = forge(HEADER, claims(), key=DER)
    assert plain(message, DER, ["RS256", "HS256"])  # the planted control
    with pytest.raises(JOSEError):
        plain(forge(HEADER, claims(), key=SECRET), PEM.decode(), ["RS256", "HS256"])


@pytest.mark.parametrize(
    "alg",
    ["none", "None", "NONE", "nOnE", "", "HS384", "hs256", "RS512", "ES384", "PS256", "dir",
     "A128KW", "HS256 ", "Ed25519", None, 5, ["HS256"], {"HS256": 1}, True],
)  # fmt: skip
@pytest.mark.parametrize("kid", [{}, {"kid": "rsa"}, {"kid": "ed"}])
def test_the_header_cannot_choose_the_algorithm(alg: object, kid: dict[str, str]):
    for signed_as in ("HS256", "RS256", "EdDSA"):
        token = forge({"alg": alg, **kid}, CLAIMS, signed_as)
        refused(token)
        refused(token.rpartition(".")[0] + ".")
        refused(token.rpartition(".")[0] + ".AA")


@pytest.mark.parametrize(("alg", "kid"), [("RS256", "ec"), ("ES256", "rsa"), ("EdDSA", "rsa")])
def test_a_kid_of_another_key_does_not_verify(alg: str, kid: str):
    assert VERIFIER.verify(forge({"alg": alg}, CLAIMS, alg), NOW)
    refused(forge({"alg": alg, "kid": kid}, CLAIMS, alg))
    for sql in ("' or 1=1 --", "../../etc/passwd", "rsa\x00", "RSA", "rsa "):
        refused(forge({"alg": alg, "kid": sql}, CLAIMS, alg))


ODD: list[Any] = [None, True, False, "", "1", [], {}, [1], -1, 10**11, 1e300, 10**30, 1.5e11]


@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
@pytest.mark.parametrize("value", [*ODD, str(NOW), [NOW], {"a": NOW}], ids=repr)
def test_a_time_is_a_number_in_range(name: str, value: object):
    refused(forge(HEADER, {**CLAIMS, name: value}))


def test_a_time_with_more_digits_than_a_float_is_refused():
    refused(forge(HEADER, json.dumps(CLAIMS).replace(str(NOW + 600), f"{NOW + 600}.{'1' * 30}")))


@pytest.mark.parametrize(
    "aud",
    [*ODD, AUDIENCE + "/", AUDIENCE.upper(), AUDIENCE[:-1], "*", [[AUDIENCE]], [AUDIENCE, 1],
     [AUDIENCE, None], [AUDIENCE, ""], {AUDIENCE: 1}, f"{AUDIENCE} other", f"{AUDIENCE}\x00"],
    ids=repr,
)  # fmt: skip
def test_an_audience_is_ours_or_the_token_is_not(aud: object):
    refused(forge(HEADER, {**CLAIMS, "aud": aud}))


@pytest.mark.parametrize("name", ["sub", "jti"])
@pytest.mark.parametrize("value", [*ODD[:3], "", *ODD[5:], "a\x00", "a\nb", "\u202e", "x" * 256])
def test_a_name_is_short_printable_text(name: str, value: object):
    refused(forge(HEADER, {**CLAIMS, name: value}))


@pytest.mark.parametrize("part", ["[]", '"x"', "1", "null", "", "{", "\ufeff{}", "{}{}"])
def test_header_and_claims_are_objects(part: str):
    refused(forge(part, CLAIMS))
    refused(forge(HEADER, part))
    refused(forge(json.dumps(HEADER).encode("utf-16-le").decode("latin-1"), CLAIMS))


VALID = {
    "HS256": forge(HEADER, CLAIMS),
    "RS256": forge({"alg": "RS256", "kid": "rsa"}, CLAIMS, "RS256"),
    "ES256": forge({"alg": "ES256", "kid": "ec"}, CLAIMS, "ES256"),
    "EdDSA": forge({"alg": "EdDSA", "kid": "ed"}, CLAIMS, "EdDSA"),
}


@pytest.mark.parametrize("alg", VALID)
def test_a_token_has_one_spelling(alg: str):
    token = VALID[alg]
    assert VERIFIER.verify(token, NOW)["sub"] == "user-1"
    header, payload, signature = token.split(".")
    for other in (
        token + "=", token + "\n", " " + token, token + ".", "." + token, token + "\x00",
        token.replace(".", ".."), f"{header}.{payload}", f"{header}.{payload}.",
        f"{header}..{signature}", f".{payload}.{signature}", f"{payload}.{header}.{signature}",
        f"{header}=.{payload}.{signature}", f"{token}.{signature}", f"{token}.a.b",
        f"Bearer {token}", token.replace(".", ","), "", ".", "..", token + "\u0660",
    ):  # fmt: skip
        refused(other)
    # 32, 64 and 256 bytes all leave spare bits in the last letter: only zeros are canonical.
    last = LETTERS.index(signature[-1])
    for spare in LETTERS[:last] + LETTERS[last + 1 :]:
        refused(token[:-1] + spare)


@pytest.mark.parametrize("alg", VALID)
@given(data=st.data())
@settings(max_examples=300)
def test_no_mutation_of_a_token_is_accepted(alg: str, data: st.DataObject):
    token = VALID[alg]
    place = data.draw(st.integers(0, len(token) - 1))
    span = data.draw(st.integers(0, 4))
    filling = data.draw(st.text(LETTERS + ".=+/ \n\u00e9", max_size=4))
    mutated = token[:place] + filling + token[place + span :]
    if mutated != token:
        refused(mutated)


@pytest.mark.parametrize("alg", VALID)
@given(data=st.data())
def test_no_bit_flip_is_accepted(alg: str, data: st.DataObject):
    parts = [base64.urlsafe_b64decode(part + "==") for part in VALID[alg].split(".")]
    which = data.draw(st.integers(0, 2))
    raw = bytearray(parts[which])
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    parts[which] = bytes(raw)
    refused(".".join(b64(part) for part in parts))


@given(st.text(max_size=60) | st.text(LETTERS + ".", max_size=200))
def test_any_text_is_refused_with_the_one_error(text: str):
    refused(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
NAMES = st.sampled_from(["alg", "typ", "kid", "crit", "b64", "x5t", "jku"])


@given(st.dictionaries(NAMES, JSON | st.sampled_from(["HS256", "RS256", "rsa", "JWT"])))
def test_any_signed_header_gives_claims_or_the_one_error(header: dict[str, object]):
    try:
        VERIFIER.verify(forge(header, CLAIMS), NOW)
    except Unauthenticated:
        return
    assert header["alg"] == "HS256"
    assert header.keys() <= {"alg", "typ", "kid", "x5t"}


@given(st.dictionaries(st.sampled_from([*CLAIMS, "nbf"]), JSON | st.integers(NOW - 99, NOW + 9999)))
@settings(max_examples=300)
def test_any_signed_claims_are_sound_or_give_the_one_error(changes: dict[str, object]):
    try:
        found: Any = VERIFIER.verify(forge(HEADER, {**CLAIMS, **changes}), NOW)
    except Unauthenticated:
        return
    assert found["iss"] == ISSUER
    assert found["aud"] == AUDIENCE or AUDIENCE in found["aud"]
    assert type(found["exp"]) in (int, float)
    assert type(found["iat"]) in (int, float)
    assert NOW - 60 < found["exp"] <= found["iat"] + 3600
    assert 0 <= found["iat"] <= NOW + 60
    assert found.get("nbf", 0) <= NOW + 60
    assert isinstance(found["sub"], str)
    assert isinstance(found["jti"], str)


def test_with_the_signature_check_off_a_forgery_passes(monkeypatch: pytest.MonkeyPatch):
    forged = forge(HEADER, {**CLAIMS, "sub": "admin"}, key="x" * 32)
    refused(forged)

    def accept(key: VerificationKey, message: bytes, signature: bytes) -> bool:
        return True

    monkeypatch.setattr(VerificationKey, "accepts", accept)
    assert VERIFIER.verify(forged, NOW)["sub"] == "admin"


def test_an_unsigned_payload_is_never_parsed():
    with pytest.raises(Unauthenticated) as caught:
        VERIFIER.verify(forge(HEADER, "not json at all", key="x" * 32), NOW)
    assert str(caught.value.__cause__) == "the signature is wrong"


def test_the_reason_stays_inside():
    with pytest.raises(Unauthenticated) as caught:
        VERIFIER.verify(forge(HEADER, {**CLAIMS, "sub": "canary\x00"}), NOW)
    assert "canary" not in f"{caught.value.as_dict()}{caught.value.__cause__}"
