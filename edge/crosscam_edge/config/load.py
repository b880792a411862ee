"""Read a site file; every mistake is reported with file, key path and a suggestion."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from crosscam_edge.config.live import LiveConfig, MqttConfig, WebhookConfig
from crosscam_edge.config.models import SiteConfig
from crosscam_edge.config.relations import Mistake
from crosscam_kernels.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic_core import ErrorDetails

_MAX_BYTES = 1 << 20
_HasCa = TypeVar("_HasCa", MqttConfig, WebhookConfig)
_MAY_BE_SHOWN = {"name", "host", "port", "prefix", "kinds", "tls", "audit", "clips", "parquet"}


class _UniqueKeyLoader(yaml.SafeLoader):
    """Safe loader that refuses a key given twice, and aliases (they can blow a file up)."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.constructor.ConstructorError(
                None, None, "aliases (*name) are not used", mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key}' is given twice", key_node.start_mark
                )
            seen.add(key if isinstance(key, str) else id(key_node))
        return dict(super().construct_mapping(node, deep))


def load_config(path: str | Path) -> SiteConfig:
    """Read and check a site file.

    Args:
        path: YAML file. Relative videos and certificates in it are taken from its folder and made
            absolute.

    Raises:
        InputError: The file cannot be read.
        UsageError: It is not YAML, or a key or value is wrong.
    """
    file = Path(path)
    config = parse_config(_read(file), file)
    folder = file.absolute().parent
    cameras = [
        camera
        if camera.video is None
        else camera.model_copy(update={"video": str(folder / camera.video)})
        for camera in config.cameras
    ]
    update: dict[str, Any] = {"cameras": cameras, "live": _with_certificates(config.live, folder)}
    if config.calibration is not None:
        update["calibration"] = str(folder / config.calibration)
    return config.model_copy(update=update)


def _with_certificates(live: LiveConfig, folder: Path) -> LiveConfig:
    """Make the paths of certificates absolute."""

    def absolute(part: _HasCa) -> _HasCa:
        return part if part.ca is None else part.model_copy(update={"ca": str(folder / part.ca)})

    return live.model_copy(
        update={
            "mqtt": None if live.mqtt is None else absolute(live.mqtt),
            "webhooks": [absolute(each) for each in live.webhooks],
        }
    )


def _read(file: Path) -> str:
    try:
        if file.is_dir():
            raise InputError(f"'{file}' is a folder", expected="a YAML file", fix="name the file")
        data = file.read_bytes()
    except FileNotFoundError:
        raise InputError(
            f"the configuration '{file}' does not exist",
            expected="a YAML file",
            fix="check the path",
        ) from None
    except OSError as error:
        raise InputError(
            f"the configuration '{file}' cannot be read: {error.strerror}",
            expected="a readable YAML file",
            fix="check its permissions",
        ) from None
    if len(data) > _MAX_BYTES:
        raise InputError(
            f"the configuration '{file}' has {len(data)} bytes",
            expected="a YAML file of at most 1 MiB",
            fix="give the site file, not a video",
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"the configuration '{file}' is not text in UTF-8 (byte {error.start})",
            expected="a YAML file in UTF-8",
            fix="save it as UTF-8",
        ) from None


def parse_config(text: str, file: Path) -> SiteConfig:
    """Check the text of a site file.

    Args:
        text: YAML.
        file: Its name, for messages.

    Raises:
        UsageError: It is not YAML, or a key or value is wrong.
    """
    try:
        data = yaml.load(text, _UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UsageError(
            f"{file}{where}: not valid YAML: {problem}",
            expected="YAML: 'key: value' lines, indented with spaces",
            fix="correct that line",
        ) from None
    except (RecursionError, ValueError) as error:
        raise UsageError(f"{file}: not valid YAML: {error}", fix="correct the file") from None
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise UsageError(
            f"{file}: the file holds {describe(data)}",
            expected="keys such as 'cameras:' and 'detector:'",
            fix="see docs/guides/process.md for an example",
        )
    try:
        return SiteConfig.model_validate(data)
    except ValidationError as error:
        raise _explain(error, file) from None


def _explain(error: ValidationError, file: Path) -> UsageError:
    problems = error.errors(include_url=False)
    first = problems[0]
    path = _key_path(first["loc"])
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    where = f"{file}: {path}" if path else f"{file}"
    kind = first["type"]
    if kind == "extra_forbidden":
        keys = _keys_beside(first["loc"])
        close = difflib.get_close_matches(str(first["loc"][-1]), keys, n=1, cutoff=0.5)
        return UsageError(
            f"{where}: unknown key{more}",
            expected="one of " + ", ".join(keys),
            fix=f"did you mean '{close[0]}'?" if close else "remove it",
        )
    if kind == "value_error":
        wrong = first["ctx"]["error"]
        if isinstance(wrong, Mistake):
            return UsageError(f"{where}: {wrong}{more}", expected=wrong.expected, fix=wrong.fix)
        return UsageError(f"{where}: {first['ctx']['error']!s}{more}", fix="correct the value")
    if kind == "missing":
        return UsageError(
            f"{where}: there is nothing{more}", expected="a value", fix="add what is missing"
        )
    return UsageError(
        f"{where}: found {_described(first)}{more}",
        expected=expectation(first),
        fix="correct the value" + (", in quotes" if kind == "string_type" else ""),
    )


def expectation(problem: ErrorDetails) -> str:
    """Say in plain words what a value should have been.

    Args:
        problem: One of the errors of a `ValidationError`.
    """
    plain = {
        "string_pattern_mismatch": "letters, digits, '.', '_' and '-', at most 64, the first one a "
        "letter or digit",
        "string_type": "text",
        "string_too_short": "at least one character",
        "invalid_key": "keys that are text",
        "dict_type": "a mapping such as {hall: 8}",
        "list_type": "a list such as [hall, yard]",
    }
    message = problem["msg"].removeprefix("Input should be ").removeprefix("String should ")
    return plain.get(problem["type"], message)


def _described(problem: ErrorDetails) -> str:
    """Name the wrong value, unless it may be a secret: that of a live run's outputs."""
    loc, value = problem["loc"], problem["input"]
    secret = loc[:1] == ("live",) and not _MAY_BE_SHOWN.intersection(map(str, loc))
    if secret and not isinstance(value, dict | list | None):
        return "a value that is not shown, for it may be secret"
    return describe(value)


def _key_path(loc: Sequence[int | str]) -> str:
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else str(part))
    return text


def _keys_beside(loc: Sequence[int | str]) -> list[str]:
    """Return the keys allowed where the last one of `loc` was found."""
    model: Any = SiteConfig
    for part in loc[:-1]:
        if isinstance(part, str) and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for a in get_args(annotation) if (m := _model_in(a))), None)


def describe(value: Any) -> str:
    """Name a value for a message: short, and with its kind where that helps."""
    if value is None:
        return "nothing"
    if isinstance(value, dict | list):
        return f"a {'mapping' if isinstance(value, dict) else 'list'} of {len(value)}"
    text = str(value)
    return f"{'text ' if isinstance(value, str) else ''}'{text[:60]}'"
