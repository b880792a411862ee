"""What the console takes answers for is what the interface says that they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from crosscam_edge.server.app import make_app

TYPES = Path(__file__).parents[3] / "web" / "src" / "api" / "types.ts"
OTHER_NAMES = {"IdentityEvent": "Event"}  # `Event` is something else in browsers
NOT_DESCRIBED = {"FrameHeader", "Person"}  # heads of live pictures are no JSON answer
_INTERFACE = re.compile(r"^export interface (\w+)(?: extends (\w+))? \{\n(.*?)^\}", re.M | re.S)
_FIELD = re.compile(r"  (\w+\??): (.+);")
_ALIAS = re.compile(r"^export type (\w+) = (.+);", re.M)


@pytest.fixture(scope="module")
def described():
    return make_app(object(), None, loopback=True).openapi()["components"]["schemas"]


def interfaces(text):
    """Return the fields of each interface, with their types; None where it says something else."""
    aliases = dict(_ALIAS.findall(text))
    found = {}
    for name, base, body in _INTERFACE.findall(text):
        fields = {}
        for line in body.splitlines():
            if line.lstrip().startswith(("/*", "*")):
                continue
            field = _FIELD.fullmatch(line)
            assert field is not None, f"{name}: {line}"
            fields[field[1]] = aliases.get(field[2], field[2])
        found[name] = {**found.get(base, {}), **fields}
    return found


def type_of(schema):
    """Return the TypeScript of what an answer holds."""
    if "$ref" in schema:
        name = schema["$ref"].split("/")[-1]
        return next((ours for ours, theirs in OTHER_NAMES.items() if theirs == name), name)
    if "anyOf" in schema:
        return " | ".join(type_of(each) for each in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return " | ".join(f'"{each}"' for each in schema.get("enum", [schema.get("const")]))
    if "prefixItems" in schema:
        return f"[{', '.join(type_of(each) for each in schema['prefixItems'])}]"
    if schema["type"] == "array":
        return type_of(schema["items"]) + "[]"
    plain = {"integer": "number", "object": "Record<string, unknown>"}
    return plain.get(schema["type"], schema["type"])


def fits(ours, theirs):
    """Return whether a type is what is described; words may be told more exactly than there."""
    return ours == theirs or (theirs == "string" and re.fullmatch(r'"\w+"( \| "\w+")+', ours))


def differences(text, described):
    found = []
    for name, ours in interfaces(text).items():
        if name in NOT_DESCRIBED:
            continue
        schema = described.get(OTHER_NAMES.get(name, name))
        if schema is None:
            found.append(f"{name}: the interface has no such thing")
            continue
        theirs = {field: type_of(each) for field, each in schema["properties"].items()}
        for field in sorted(set(ours) | set(theirs)):
            a, b = ours.get(field), theirs.get(field)
            if a is None or b is None or not fits(a, b):
                found.append(f"{name}.{field}: {a} in the console, {b} in the interface")
    return found


def test_the_console_knows_what_it_is_answered(described):
    assert differences(TYPES.read_text(), described) == []


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("  pace: string;\n", "", "Camera.pace: None in the console, string"),
        ("  pace: string;", "  pace?: string;", "Camera.pace?"),
        ("  picture: string | null;", "  picture: string;", "Identity.picture: string in"),
        ("cameras: Camera[]", "cameras: Me[]", "Cameras.cameras: Me[] in the console, Camera[]"),
        ("  decoder: string;", "  decoder: string;\n  warp: number;", "warp: number in the"),
        ("cameras: Place[]", "cameras: Me[]", "Topology.cameras: Me[] in the console, Place[]"),
        ("  links: Link[];\n", "", "Topology.links: None in the console, Link[]"),
        ("  x: number | null;", "  x: number;", "Place.x: number in the console, number | null"),
        ("  given: boolean;", "  given: string;", "Link.given: string in the console, boolean"),
        ("  median_s: number;", "  p50_s: number;", "Link.median_s: None in the console"),
        ("interface Erased", "interface Razed", "Razed: the interface has no such thing"),
    ],
)  # fmt: skip
def test_a_difference_is_noticed(described, right, wrong, told):
    text = TYPES.read_text()
    assert right in text
    assert any(told in each for each in differences(text.replace(right, wrong, 1), described))
