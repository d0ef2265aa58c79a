"""Says who a caller is by the time its job runs, so that no job outlives the rights to it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import orjson

from fluxbase.app.desk import ADMINISTRATOR
from fluxbase.auth.authenticate import hoisted
from fluxbase.errors import Unauthenticated
from fluxbase.oauth.bearer import granted

if TYPE_CHECKING:
    from fluxbase.auth.authenticate import Authenticator
    from fluxbase.db.database import Database
    from fluxbase.principal import Principal


class Voucher:
    """Looks callers up again."""

    def __init__(self, database: Database, authenticator: Authenticator) -> None:
        self._database = database
        self._authenticator = authenticator

    async def vouch(self, who: Principal) -> Principal:
        """Return a caller with the rights it has by now.

        A key is read again. What a user lets an assistant do must still be granted. A user that
        came with a token of another issuer passes as it was: nobody here can ask about it.

        Raises:
            Unauthenticated: the key, the user or the grant is not valid any more.
            Unavailable: the database does not answer.
        """
        if who == ADMINISTRATOR:
            return who
        if who.client_id is None:
            return await self._authenticator.current(who)
        rows = await self._database.admin(
            "live_grant", user_id=who.user_id, client_id=who.client_id
        )
        if not rows:
            raise Unauthenticated
        row = rows[0]
        asked = sorted(who.scopes.intersection(row["scopes"]))
        said = {**orjson.loads(who.claims), "email": row["email"], "role": row["role"]}
        return replace(
            who,
            name=row["email"],
            role=row["role"],
            claims=orjson.dumps(said).decode(),
            scopes=frozenset(granted(asked, row["user_scopes"])),
            settings=hoisted(list(row["settings"])),
        )
