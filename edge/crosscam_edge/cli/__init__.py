"""The `crosscam` command.

Commands are named in a table and imported only when they run, so `crosscam --help` is instant and
no command pays for the imports of another (a test asserts that no torch is loaded).
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import logging
import os
import re
import sys
import traceback
from typing import NamedTuple

import click

from crosscam_deploy.log import configure
from crosscam_deploy.redact import redact
from crosscam_kernels.errors import CrosscamError, RunError


class _Lazy(NamedTuple):
    module: str
    help: str


COMMANDS: dict[str, _Lazy] = {
    "demo": _Lazy("crosscam_edge.cli.demo", "Simulate a site, process it, evaluate it, show it."),
    "process": _Lazy("crosscam_edge.cli.process", "Give every person in recorded videos one id."),
    "run": _Lazy("crosscam_edge.cli.run", "Watch live cameras: every person with one id."),
    "swap": _Lazy("crosscam_edge.cli.swap", "Change the model of a live run while it runs."),
    "token": _Lazy("crosscam_edge.cli.token", "Make tokens for the HTTP interface of a run."),
    "eval": _Lazy("crosscam_edge.cli.evaluate", "Score tracks against ground truth, and models."),
    "simulate": _Lazy("crosscam_edge.cli.simulate", "Render a multi-camera site with exact truth."),
    "calibrate": _Lazy(
        "crosscam_edge.cli.calibrate", "Learn a model's scores from a site's own footage."
    ),
    "harvest": _Lazy("crosscam_edge.cli.harvest", "Take pictures out of a run, to train with."),
    "data": _Lazy("crosscam_edge.cli.data", "Check data sets for training; make masks of clothes."),
    "train": _Lazy("crosscam_edge.cli.train", "Train a model to re-identify people."),
    "train-detector": _Lazy(
        "crosscam_edge.cli.train_detector", "Train a small detector of people."
    ),
    "models": _Lazy("crosscam_edge.cli.models", "List, pull, import, show and export models."),
    "build": _Lazy(
        "crosscam_edge.cli.build", "Build a model for a box: the fastest that is as good."
    ),
    "verify": _Lazy(
        "crosscam_edge.cli.verify", "Compare engines and precisions: answers, speed, memory."
    ),
    "doctor": _Lazy("crosscam_edge.cli.doctor", "Check what is installed and what runs where."),
}


class _LazyGroup(click.Group):
    """A click group whose commands live in modules that are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(COMMANDS[cmd_name].module).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.help) for name, lazy in COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="crosscam")
@click.option("-v", "--verbose", count=True, help="Log more: -v for progress, -vv for everything.")
@click.option("--log-json", is_flag=True, help="Log one JSON object a line.")
def cli(verbose: int, log_json: bool) -> None:
    """One identity per person, across every camera."""
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG)
    configure(level=level, as_json=log_json)


def _show(error: CrosscamError, args: list[str]) -> None:
    """Print an error for people, or for programs with ``--json``."""
    if "--json" in args:
        fields = {"error": type(error).__name__, "found": error.found}
        fields |= {"expected": error.expected, "fix": error.fix}
        click.echo(json.dumps(fields), err=True)
    else:
        click.echo(f"crosscam: error: {error}", err=True)


def _report_bug(error: Exception, args: list[str]) -> None:
    """Say what to do about an error that nobody foresaw."""
    wrapped = RunError(
        redact(f"crosscam failed unexpectedly ({type(error).__name__}: {error})"),
        fix="repeat it as `crosscam -v …` for details, and report it with `crosscam doctor --json`",
    )
    if any(word == "--verbose" or re.fullmatch("-v+", word) for word in args):
        traceback.print_exception(error)
    _show(wrapped, args)


def main(argv: list[str] | None = None) -> None:
    """Run the command line and leave with its exit status.

    Status 0: done; 2: usage; 3: bad input; 4: the run or a part of it failed; 130: interrupted,
    results kept. No traceback reaches a user who did not ask for one with ``-v``.

    Args:
        argv: Arguments after the program name; those of the process by default.
    """
    args = sys.argv[1:] if argv is None else argv
    # The memory goes back as a whole: looking for garbage in it takes a quarter of a second.
    atexit.register(gc.freeze)
    try:
        code = cli.main(args, prog_name="crosscam", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except CrosscamError as error:
        _show(error, args)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Whoever read our output has left (`| head`): nothing to say, and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        _report_bug(error, args)
        sys.exit(RunError.exit_code)
    sys.exit(code if isinstance(code, int) else 0)
