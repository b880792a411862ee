"""The manifest parser: everything valid survives a round trip, everything else is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosscam_deploy.bundle import parse_manifest
from crosscam_deploy.manifest import (
    Decoder,
    Manifest,
    Preprocessing,
    RunWith,
    compute_model_id,
)
from crosscam_kernels.errors import InputError

positive = st.floats(1e-3, 1e3, allow_nan=False)
triples = st.tuples(*[st.floats(-300, 300)] * 3)
file_names = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,20}", fullmatch=True).filter(
    lambda name: name not in (".", "..", "manifest.json")
)
sha = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
preprocessings = st.builds(
    Preprocessing,
    height=st.integers(1, 2048),
    width=st.integers(1, 2048),
    color=st.sampled_from(["rgb", "bgr"]),
    scale=positive,
    mean=triples,
    std=st.tuples(positive, positive, positive),
    fit=st.sampled_from(["stretch", "letterbox", "letterbox_topleft"]),
    pad_value=st.integers(0, 255),
)
decoders = st.builds(
    Decoder,
    kind=st.sampled_from(["yolox", "yolo_raw", "end2end", "detr"]),
    person_class=st.integers(0, 4),
    num_classes=st.integers(5, 400),
    nms_iou=st.floats(0.01, 1),
)


@st.composite
def manifests(draw):
    files = draw(st.dictionaries(file_names, sha, min_size=1, max_size=4))
    task = draw(st.sampled_from(["detect", "embed"]))
    prep = draw(preprocessings)
    decoder = draw(decoders) if task == "detect" else None
    outputs = tuple(draw(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=3)))
    return Manifest(
        name=draw(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True)),
        task=task,
        format=draw(st.sampled_from(["onnx", "openvino"])),
        model_file=draw(st.sampled_from(sorted(files))),
        files=files,
        input_name="images",
        output_names=outputs,
        dynamic_batch=draw(st.booleans()),
        preprocessing=prep,
        decoder=decoder,
        embedding_dim=128 if task == "embed" else None,
        licence=draw(st.text(max_size=20)),
        source="here",
        precision=draw(st.sampled_from(["f32", "f16", "bf16", "int8", "mixed"])),
        built_from=draw(st.none() | sha),
        run_with=draw(
            st.none()
            | st.builds(
                RunWith,
                runtime=st.sampled_from(["openvino", "onnxruntime"]),
                precision=st.sampled_from(["f32", "bf16"]),
            )
        ),
        model_id=compute_model_id(
            task=task, files=files, output_names=outputs, preprocessing=prep, decoder=decoder
        ),
    )


@given(manifests())
@settings(deadline=None, max_examples=60)
def test_round_trip(manifest):
    parsed = parse_manifest(manifest.model_dump_json(), origin="test")
    assert parsed == manifest
    assert parsed.computed_model_id() == manifest.model_id


@given(manifests(), preprocessings)
@settings(deadline=None, max_examples=40)
def test_model_id_follows_from_what_changes_the_numbers(manifest, other):
    renamed = manifest.model_copy(update={"licence": "other", "name": "other"})
    assert renamed.computed_model_id() == manifest.computed_model_id()
    changed = manifest.model_copy(update={"preprocessing": other})
    same = other == manifest.preprocessing
    assert (changed.computed_model_id() == manifest.computed_model_id()) is same


@given(manifests(), st.data())
@settings(deadline=None, max_examples=60)
def test_any_key_removed_or_added_is_noticed(manifest, data):
    fields = manifest.model_dump(mode="json")
    required = ["name", "task", "format", "model_file", "files", "input_name", "licence"]
    missing = dict(fields)
    del missing[data.draw(st.sampled_from(required))]
    with pytest.raises(InputError, match="not valid"):
        parse_manifest(json.dumps(missing), origin="test")
    extra = dict(fields, licencce="MIT")
    with pytest.raises(InputError, match="licencce"):
        parse_manifest(json.dumps(extra), origin="test")


@given(manifests())
@settings(deadline=None, max_examples=20)
def test_manifests_from_before_builds_stay_valid(manifest):
    fields = manifest.model_dump(mode="json")
    for name in ("precision", "built_from", "run_with"):
        del fields[name]
    parsed = parse_manifest(json.dumps(fields), origin="test")
    assert (parsed.precision, parsed.built_from, parsed.run_with) == ("f32", None, None)
    assert parsed.computed_model_id() == manifest.model_id


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner),
    max_leaves=12,
)


@given(json_values)
@settings(deadline=None, max_examples=100)
def test_arbitrary_json_is_refused_readably(value):
    with pytest.raises(InputError, match="not valid"):
        parse_manifest(json.dumps(value), origin="test")


@pytest.mark.parametrize(
    "name", ["../x", "/x", "a/../b", "", ".", "c:x", "a\\b", "manifest.json", "./x", "a//b", "x\0"]
)
def test_file_names_that_could_leave_the_bundle(name):
    with pytest.raises(ValueError, match=r"not a plain relative|at least|String"):
        Manifest.model_validate(
            {
                "name": "m",
                "task": "embed",
                "format": "onnx",
                "model_file": name,
                "files": {name: "0" * 64},
                "input_name": "i",
                "output_names": ["o"],
                "dynamic_batch": True,
                "preprocessing": {"height": 2, "width": 2, "color": "rgb"},
                "embedding_dim": 4,
                "licence": "MIT",
                "source": "s",
                "model_id": "0" * 64,
            }
        )


@pytest.mark.parametrize(
    "fields",
    [
        {"std": (1, 0, 1)},
        {"std": (1, -1, 1)},
        {"mean": (float("nan"), 0, 0)},
        {"scale": float("inf")},
        {"height": 0},
        {"pad_value": 256},
        {"color": "gray"},
    ],
)
def test_impossible_preprocessing(fields):
    base = {"height": 4, "width": 4, "color": "rgb"}
    with pytest.raises(ValueError, match="validation error"):
        Preprocessing.model_validate(base | fields)
