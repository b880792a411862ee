"""Garbage in any text of a data set ends in findings or an `InputError`, never in a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import data_trees as trees
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_trainer_data_readers import TREES

from crosscam_kernels.errors import InputError
from crosscam_trainer.data.check import check
from crosscam_trainer.data.readers.market import MARKET
from crosscam_trainer.data.registry import load

_TEXTS = [
    ("msmt17", "list_train.txt"),
    ("cuhk03-detected", "cuhk03_new_protocol_config_detected.mat"),
    ("deepchange", "train-set-bbox.txt"),
    ("ccvid", "query.txt"),
    ("site", "dataset.json"),
    ("site", "crops.jsonl"),
    ("simulated", "people.json"),
    ("simulated", "day1/site.yaml"),
]
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["people", "id", "days", "day", "clothes", "caption", "cameras", "file"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
_content = st.one_of(
    st.binary(max_size=60),
    st.text(alphabet="0123/_-, \t\ncPsession.jpg\x00é\u2028", max_size=60).map(str.encode),
    _json.map(lambda value: json.dumps(value).encode()),
)


@pytest.mark.parametrize(("kind", "name"), _TEXTS)
def test_garbage_in_a_text(kind: str, name: str, tmp_path: Path) -> None:
    root = TREES[kind](tmp_path)

    @given(_content)
    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    def run(content: bytes) -> None:
        (root / name).write_bytes(content)
        try:
            report = check(root, kind, pictures="none", published=False)
        except InputError:
            return
        if report.ok:
            load(root, kind)
        else:
            with pytest.raises(InputError):
                load(root, kind)

    run()


@given(st.lists(st.text(alphabet="0123_-cs.jpgf", min_size=1, max_size=24), max_size=8))
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
def test_any_names_of_pictures(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    root = trees.market(tmp_path_factory.mktemp("names"))
    added = {f"{name}.jpg" for name in names if not name.startswith(".")}
    for name in added:
        (root / "query" / name).write_bytes(b"")
    report = check(root, "market1501", pictures="none", published=False)
    told = sum(f.count for f in report.findings.items if f.code == "wrong-name")
    assert told == sum(MARKET.fullmatch(name) is None for name in added)
    assert report.ok == (not report.findings.errors)


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    root = tmp_path / "set"
    trees.market(root)
    for path in (root / "query").iterdir():
        path.unlink()
    (root / "query").rmdir()
    (root / "query").write_text("a file")
    with pytest.raises(InputError, match="cannot be read"):
        load(root, "market1501")
    with pytest.raises(InputError, match="is a file"):
        load(root / "query")
