"""What is shipped around crosscam names only commands, flags and files that exist."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from crosscam_edge.cli import cli

ROOT = Path(__file__).parents[2]
PACKAGING = ROOT / "packaging"
DOCKERFILES = sorted((PACKAGING / "docker").glob("*.Dockerfile"))
NIGHTLY = PACKAGING / "bin" / "crosscam-nightly"


def _check(argv: list[str]) -> None:
    """Parse a command line as `crosscam` would, and run nothing."""
    if argv[0].endswith("crosscam-nightly"):
        assert len(argv) == 2, argv
        return
    assert argv[0].split("/")[-1] == "crosscam", argv
    if argv[-1] == "--help":
        argv = argv[:-1]
    command: click.Command = cli
    context = click.Context(cli)
    rest = argv[1:]
    while rest and isinstance(command, click.Group) and not rest[0].startswith("-"):
        found = command.get_command(context, rest[0])
        assert found is not None, f"crosscam has no command {rest[0]}"
        context = click.Context(found, parent=context, info_name=rest[0])
        command, rest = found, rest[1:]
    parser = command.make_parser(context)
    parser.parse_args(args=rest)  # raises NoSuchOption


def _lines(text: str) -> list[str]:
    """Join what backslashes continue, without comments."""
    kept = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return re.sub(r"\\\n", " ", kept).splitlines()


def _documents(path: Path) -> list[dict[str, Any]]:
    return [d for d in yaml.safe_load_all(path.read_text()) if d]


def test_a_command_that_does_not_exist_is_noticed() -> None:
    with pytest.raises(AssertionError, match="no command fly"):
        _check(["crosscam", "fly"])
    with pytest.raises(click.NoSuchOption):
        _check(["crosscam", "process", "--outptu", "x"])


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.name)
def test_images_run_existing_commands_as_nobody_special(path: Path) -> None:
    lines = _lines(path.read_text())
    entry = json.loads(next(x for x in lines if x.startswith("ENTRYPOINT")).split(" ", 1)[1])
    command = json.loads(next(x for x in lines if x.startswith("CMD")).split(" ", 1)[1])
    _check(entry + command)
    health = next(x for x in lines if x.startswith("HEALTHCHECK"))
    _check(json.loads(health[health.index("CMD ") + 4 :]))
    assert "USER 10001:10001" in lines[max(i for i, x in enumerate(lines) if "COPY" in x) :]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.name)
def test_images_name_no_package_index_and_copy_what_is_there(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"https?://", text)
    assert "ARG PIP_INDEX_URL\n" in text
    for source in re.findall(r"^COPY (?!--from)(\S+) ", text, flags=re.M):
        assert (ROOT / source).exists(), source


def test_the_build_context_holds_what_the_wheel_is_made_from() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    kept = {line[1:] for line in ignored if line.startswith("!")}
    assert ignored[1] == "*"
    assert all((ROOT / name).exists() for name in kept)
    subfolders = re.findall(r"add_subdirectory\((\w+)", (ROOT / "CMakeLists.txt").read_text())
    assert {*subfolders, "deploy", "trainer", "pyproject.toml", "constraints.txt"} <= kept


def test_compose_services_run_existing_commands_with_nothing_to_gain() -> None:
    (compose,) = _documents(PACKAGING / "docker" / "compose.yaml")
    for name, service in compose["services"].items():
        entry = service.get("entrypoint", ["crosscam"])
        _check(entry + service.get("command", ["site"]))
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["network_mode"] == ("bridge" if name == "models" else "none")
        assert (ROOT / service["build"]["dockerfile"]).is_file()


def _pods() -> list[tuple[str, dict[str, Any]]]:
    folder = PACKAGING / "kubernetes"
    (cron,) = _documents(folder / "nightly.yaml")
    (job,) = _documents(folder / "once" / "job.yaml")
    return [
        ("nightly", cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]),
        ("once", job["spec"]["template"]["spec"]),
    ]


@pytest.mark.parametrize(("name", "pod"), _pods(), ids=["nightly", "once"])
def test_pods_are_restricted_bounded_and_mount_what_exists(name: str, pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    _check(container["command"] + container["args"])
    security = container["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert security["readOnlyRootFilesystem"]
    assert not security["allowPrivilegeEscalation"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert {"cpu", "memory"} <= set(container["resources"]["requests"])
    assert "memory" in container["resources"]["limits"]
    volumes = {v["name"]: v for v in pod["volumes"]}
    assert {m["name"] for m in container["volumeMounts"]} == set(volumes)
    storage = {d["metadata"]["name"] for d in _documents(PACKAGING / "kubernetes/storage.yaml")}
    claims = {
        v["persistentVolumeClaim"]["claimName"]
        for v in volumes.values()
        if "persistentVolumeClaim" in v
    }
    assert claims == storage, name
    (kustomization,) = _documents(PACKAGING / "kubernetes/kustomization.yaml")
    maps = {m["name"] for m in kustomization["configMapGenerator"]}
    assert {v["configMap"]["name"] for v in volumes.values() if "configMap" in v} == maps


def test_every_image_tag_is_of_this_version() -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), flags=re.M)
    assert version
    for path in [*PACKAGING.rglob("*.yaml"), *DOCKERFILES]:
        for tag in re.findall(r"(?:crosscam:|newTag: |version: )(\d[\w.]+)", path.read_text()):
            assert tag == version.group(1), path


def test_units_start_what_is_installed() -> None:
    unit = (PACKAGING / "systemd" / "crosscam-nightly@.service").read_text()
    (start,) = re.findall(r"^ExecStart=(.+)$", unit, flags=re.M)
    _check(shlex.split(start))
    assert (PACKAGING / "bin" / Path(shlex.split(start)[0]).name) == NIGHTLY
    assert NIGHTLY.stat().st_mode & 0o111
    for name in re.findall(r"^Environment=(\w+)=", unit, flags=re.M):
        known = (
            "PATH" + NIGHTLY.read_text() + (ROOT / "deploy/crosscam_deploy/paths.py").read_text()
        )
        assert name in known, name
