"""Exit statuses and error messages of the `crosscam` command, as a user meets them."""

from __future__ import annotations

import json

import click
import pytest

from crosscam_edge import cli
from crosscam_kernels.errors import (
    CrosscamError,
    InputError,
    MissingExtraError,
    RunError,
    UsageError,
)


def _exit(argv: list[str]) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main(argv)
    return int(left.value.code or 0)


def test_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert _exit(["proces"]) == 2
    assert "No such command 'proces'" in capsys.readouterr().err


def test_every_command_of_the_table_has_help() -> None:
    for name in cli.COMMANDS:
        assert _exit([name, "--help"]) == 0


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UsageError("bad flag", fix="use another"), 2),
        (InputError("bad file", expected="a video", fix="give a video"), 3),
        (RunError("disk full", fix="free some space"), 4),
        (MissingExtraError("export", "yolo"), 4),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_errors_become_messages_and_statuses(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: CrosscamError,
    status: int,
    as_json: bool,
) -> None:
    @click.command()
    @click.option("--json", "as_json", is_flag=True)
    def failing(as_json: bool) -> None:
        raise error

    monkeypatch.setattr(cli._LazyGroup, "get_command", lambda *_: failing)
    assert _exit(["doctor", *(["--json"] if as_json else [])]) == status
    printed = capsys.readouterr().err
    if as_json:
        assert json.loads(printed)["found"] == error.found
    else:
        assert error.found in printed
        assert error.fix in printed


def test_interrupt_leaves_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli._LazyGroup, "get_command", lambda *_: interrupted)
    assert _exit(["doctor"]) == 130
