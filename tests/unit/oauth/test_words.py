"""Every scope that can be granted is told to people in plain words."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from fluxbase.config.oauth import OAuth
from fluxbase.http.oauth import browser
from fluxbase.principal import GRANTABLE, SCOPES


def test_each_scope_that_can_be_granted_has_words() -> None:
    assert set(vars(browser)["_WORDS"]) == set(GRANTABLE)
    assert OAuth(scopes=GRANTABLE).scopes == GRANTABLE


@pytest.mark.parametrize("scope", sorted(set(SCOPES) - set(GRANTABLE)))
def test_a_scope_that_needs_a_role_of_its_own_cannot_be_granted(scope: str) -> None:
    with pytest.raises(ValidationError, match="can be granted"):
        OAuth(scopes=("read:tables", scope))
