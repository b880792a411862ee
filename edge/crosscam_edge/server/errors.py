"""Errors as a client sees them: what was found, what was expected, what to do; never a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from crosscam_deploy.log import get_logger
from crosscam_deploy.redact import redact
from crosscam_kernels.errors import CrosscamError, RunError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI, Request

    from crosscam_edge.types import TrackletKey

_log = get_logger("server")


class ErrorAnswer(BaseModel):
    """What went wrong."""

    error: str = Field(description="short name of the kind of error")
    found: str = Field(description="what is wrong")
    expected: str = Field(default="", description="what would have been right")
    fix: str = Field(default="", description="what you can do")


class RefusedError(CrosscamError):
    """A request that is answered with an error.

    Args:
        status: HTTP status code.
        error: Short name of the kind of error.
        found: What is wrong.
        expected: What would have been right.
        fix: What the client can do.
        headers: Of the answer.
    """

    def __init__(
        self,
        status: int,
        error: str,
        found: str,
        *,
        expected: str = "",
        fix: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(found, expected=expected, fix=fix)
        self.status, self.error, self.headers = status, error, headers


def answer_of(error: RefusedError) -> JSONResponse:
    """Return the answer that tells of an error."""
    told = ErrorAnswer(
        error=error.error,
        found=redact(error.found),
        expected=redact(error.expected),
        fix=redact(error.fix),
    )
    return JSONResponse(told.model_dump(), error.status, error.headers)


def no_stay(global_id: int, stay: TrackletKey) -> RefusedError:
    """Return the error of a tracklet that is not somebody's, or that the caller may not know of."""
    return RefusedError(
        404,
        "not_found",
        f"identity {global_id} has no tracklet {stay.camera_id}/{stay.track_id}",
        expected="one of their journey",
        fix="GET /api/v1/identities/{id} tells it",
    )


def no_identity(global_id: int) -> RefusedError:
    """Return the error of an identity that is not there, or that the caller may not know of."""
    return RefusedError(
        404,
        "not_found",
        f"there is no identity {global_id}",
        expected="one that is still kept, and that your cameras have seen",
        fix="GET /api/v1/identities lists them",
    )


def no_camera(camera_id: str) -> RefusedError:
    """Return the error of a camera that is not there, or that the caller may not know of."""
    return RefusedError(
        404,
        "not_found",
        f"there is no camera '{camera_id}'",
        expected="one that you may know of",
        fix="GET /api/v1/cameras lists them",
    )


def no_picture(name: str) -> RefusedError:
    """Return the error of a picture that is not there, or that the caller may not see."""
    return RefusedError(
        404,
        "not_found",
        f"there is no picture {name}",
        expected="one that is still kept, of your cameras",
        fix="GET /api/v1/identities/ID/pictures lists them",
    )


def unavailable(found: str) -> RefusedError:
    """Return the error of something that cannot be done just now."""
    return RefusedError(
        503, "unavailable", found, fix="try again in a moment", headers={"Retry-After": "1"}
    )


def handle_errors(app: FastAPI) -> None:
    """Have every error of an application told in the same shape."""
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(CrosscamError, _own)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _unforeseen)


async def _refused(_: Request, error: Any) -> JSONResponse:
    return answer_of(error)


async def _own(_: Request, error: Any) -> JSONResponse:
    if isinstance(error, RunError):
        return answer_of(unavailable(error.found))
    return answer_of(
        RefusedError(422, "invalid", error.found, expected=error.expected, fix=error.fix)
    )


async def _invalid(_: Request, error: Any) -> JSONResponse:
    # Where and why, and not what was sent: it may be anything.
    first = error.errors()[0]
    place = ".".join(str(each) for each in first["loc"][1:]) or "request"
    return answer_of(
        RefusedError(422, "invalid", f"'{place}' is wrong: {first['msg']}", fix="see openapi.json")
    )


async def _http(_: Request, error: Any) -> JSONResponse:
    if error.status_code == 400:  # FastAPI's, of a body that is no text
        return answer_of(
            RefusedError(
                422,
                "invalid",
                "the body cannot be read",
                expected="JSON in UTF-8",
                fix="see openapi.json",
            )
        )
    kinds = {
        404: ("not_found", "there is nothing here"),
        405: ("method", "not by this method"),
        408: ("too_slow", "the body came too slowly"),
    }
    kind, found = kinds.get(error.status_code, ("refused", str(error.detail)))
    return answer_of(
        RefusedError(
            error.status_code, kind, found, expected="a path of openapi.json", headers=error.headers
        )
    )


async def _gone(_: Request, __: Exception) -> JSONResponse:
    return answer_of(RefusedError(400, "gone", "the client hung up before the body was whole"))


async def _unforeseen(_: Request, error: Exception) -> JSONResponse:
    _log.warning("request failed", reason=redact(f"{type(error).__name__}: {error}"))
    return answer_of(
        RefusedError(500, "internal", "the request failed", fix="the log of the run says more")
    )
