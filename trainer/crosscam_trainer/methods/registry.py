"""Methods by the names that recipes use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from crosscam_kernels.errors import InputError
from crosscam_trainer.wrong_keys import explain

if TYPE_CHECKING:
    from crosscam_trainer.methods.base import Method
    from crosscam_trainer.recipe import Recipe

METHODS: dict[str, str] = {
    "cal": "crosscam_trainer.methods.cal",
    "captions": "crosscam_trainer.methods.captions",
    "ccaf": "crosscam_trainer.methods.ccaf",
    "ccafl": "crosscam_trainer.methods.ccafl",
    "ccafl+ccaf": "crosscam_trainer.methods.ccafl_ccaf",
    "clip_reid": "crosscam_trainer.methods.clip_reid",
}
"""Name → module with ``build(recipe, options) -> Method`` and the pydantic class ``Options``."""


def make_method(recipe: Recipe) -> Method:
    """Make the method of a recipe.

    Raises:
        InputError: There is no such method, or an option is wrong; names each.
    """
    options: dict[str, Any] = dict(recipe.method)
    name = options.pop("name")
    if name not in METHODS:
        raise InputError(f"method {name!r}", expected=f"one of {', '.join(sorted(METHODS))}")
    module = import_module(METHODS[name])
    try:
        checked = module.Options.model_validate(options)
    except ValidationError as error:
        raise InputError(
            explain(module.Options, error, "method."),
            expected=f"the options of {name} in docs/reference/recipes.md",
        ) from error
    return cast("Method", module.build(recipe, checked))
