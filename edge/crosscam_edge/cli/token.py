"""`crosscam token`: who may use the HTTP interface of a live run."""

from __future__ import annotations

from pathlib import Path

import click

_FILE = click.option(
    "--file",
    "path",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of tokens.",
)


@click.group(name="token")
def command() -> None:
    """Make, list and revoke tokens of `crosscam run --listen --tokens FILE`."""


@command.command()
@_FILE
@click.option(
    "--role",
    required=True,
    type=click.Choice(["viewer", "operator", "admin"]),
    help="Viewers look, operators export people too, admins erase them too.",
)
@click.option("--cameras", help="Names, with commas between: all that the holder may know of.")
@click.option("--name", help="What the audit calls the holder; the role and a number by default.")
def create(path: Path, role: str, cameras: str | None, name: str | None) -> int:
    """Make a token and print it: it is kept nowhere else, the file holds a hash of it."""
    from crosscam_edge.server.tokens import Role, create_token

    scope = None if cameras is None else [each.strip() for each in cameras.split(",")]
    record, token = create_token(path, Role(role), name=name, cameras=scope)
    click.echo(f"{record.name}: keep this token, it is not shown again", err=True)
    click.echo(token)
    return 0


@command.command(name="list")
@_FILE
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(path: Path, as_json: bool) -> int:
    """List the tokens of a file: names, roles and cameras."""
    from crosscam_edge.server.tokens import read_tokens, shown

    records = read_tokens(path)
    if as_json:
        click.echo(shown(records))
        return 0
    for each in records:
        scope = "all cameras" if each.cameras is None else ", ".join(each.cameras)
        click.echo(f"{each.name}: {each.role}, {scope}")
    return 0


@command.command()
@click.argument("name")
@_FILE
def revoke(name: str, path: Path) -> int:
    """Take token NAME out of a file; a run that uses the file refuses it at once."""
    from crosscam_edge.server.tokens import revoke_token

    revoke_token(path, name)
    click.echo(f"{name} is revoked")
    return 0
