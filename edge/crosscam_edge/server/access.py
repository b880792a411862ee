"""Who may ask for what: every route says which role it takes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from crosscam_edge.server.errors import RefusedError
from crosscam_edge.server.limits import Attempts
from crosscam_edge.server.tokens import Caller, Role

if TYPE_CHECKING:
    from collections.abc import Callable

    from crosscam_edge.server.tokens import Keyring

LOCAL = Caller("local", Role.VIEWER)
"""Whoever is on this machine, when there are no tokens."""
_ALL = "*"
bearer = HTTPBearer(auto_error=False, description="a token of crosscam token create")
Shown = Annotated[HTTPAuthorizationCredentials | None, Security(bearer)]


class Access:
    """Decides who a request comes from.

    Args:
        keyring: The tokens; None lets everybody look, which is for loopback alone.
    """

    def __init__(self, keyring: Keyring | None) -> None:
        self._keyring = keyring
        self._attempts = Attempts()
        # Guesses from many addresses: hashes that are slow on purpose must not cost the cameras.
        self._together = Attempts(burst=60, pause_s=0.5, most=1)

    def caller(self, token: str | None, address: str) -> Caller:
        """Return who asks.

        Args:
            token: What they show.
            address: Where they ask from.

        Raises:
            RefusedError: They show nothing (401), the wrong thing (401), or did so too often (429).
        """
        if self._keyring is None:
            return LOCAL
        if token is None:
            raise _unknown("no token was shown")
        known = self._keyring.known(token)
        if known is not None:
            return known
        wait = max(self._attempts.wait_s(address), self._together.wait_s(_ALL))
        if wait > 0:
            raise RefusedError(
                429,
                "too_many",
                "too many wrong tokens",
                expected="the right one",
                fix=f"wait {math.ceil(wait)} seconds",
                headers={"Retry-After": str(math.ceil(wait))},
            )
        # Counted before it is looked at, so that guesses at the same time count too.
        self._attempts.count(address)
        self._together.count(_ALL)
        found = self._keyring.check(token)
        if found is None:
            raise _unknown("the token is not known")
        self._attempts.forgive(address)
        self._together.forgive(_ALL)
        return found

    def still(self, token: str | None, caller: Caller) -> bool:
        """Return whether a token that let somebody in would do so now."""
        if self._keyring is None or token is None:
            return self._keyring is None
        return self._keyring.known(token) == caller


def _unknown(found: str) -> RefusedError:
    return RefusedError(
        401,
        "unauthorised",
        found,
        expected="Authorization: Bearer TOKEN",
        fix="crosscam token create makes one",
        headers={"WWW-Authenticate": "Bearer"},
    )


def needs(role: Role) -> Callable[..., Caller]:
    """Return what a route depends on that takes callers of this role and above."""

    def allowed(
        request: Request,
        shown: Shown,
    ) -> Caller:
        access: Access = request.app.state.access
        address = "" if request.client is None else request.client.host
        caller = access.caller(None if shown is None else shown.credentials, address)
        if not caller.role.covers(role):
            raise RefusedError(
                403,
                "forbidden",
                f"this needs the role {role}, and '{caller.name}' is {caller.role}",
                expected=f"a token of the role {role}",
                fix=f"crosscam token create --role {role}, and crosscam run with --tokens",
            )
        return caller

    return allowed


Viewer = Annotated[Caller, Depends(needs(Role.VIEWER))]
Operator = Annotated[Caller, Depends(needs(Role.OPERATOR))]
Admin = Annotated[Caller, Depends(needs(Role.ADMIN))]
