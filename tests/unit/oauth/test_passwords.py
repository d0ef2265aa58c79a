"""An unknown user costs what a known one costs, whatever the library thinks is enough today."""

from __future__ import annotations

from argon2 import PasswordHasher, extract_parameters

from fluxbase.oauth import passwords


def test_nobody_has_a_hash_with_the_parameters_of_everybody() -> None:
    nobody = extract_parameters(passwords.NOBODY)
    everybody = extract_parameters(PasswordHasher().hash("a password of the tests"))
    assert nobody == everybody
