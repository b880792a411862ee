"""Reports on paper: the store beside bundles, Markdown, and the page."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import get_args

import pytest

from crosscam_deploy.verify import Candidate, EmbedAccuracy, Gates, Report, Row, Speed
from crosscam_deploy.verify.html import html
from crosscam_deploy.verify.markdown import footer, markdown, named
from crosscam_deploy.verify.settings import precisions_of
from crosscam_deploy.verify.store import SUFFIX, load_report, save_for_all, save_report
from crosscam_deploy.verify.table import columns
from crosscam_deploy.verify.types import DataSummary, Engine, EngineFacts, Machine
from crosscam_edge.cli.verify_print import print_report
from crosscam_kernels.errors import RunError

EVIL = "\"><script>alert(1)</script>'{{7*7}}|"


def a_row(bundle, role="candidate", status="passed", rate=100.0, **changes) -> Row:
    accuracy = EmbedAccuracy(
        crops=8, cosine_mean=0.999, cosine_min=0.99, top1_agreement=0.95, mean_ap=0.5,
        rank1=0.75, mean_ap_change=-0.001, rank1_change=0.0,
    )  # fmt: skip
    speed = Speed(
        batch=8, calls=9, ms_median=8e3 / rate, ms_p95=9e3 / rate, ms_each=1e3 / rate,
        each_per_second=rate, cpu_ms_each=1.0, ratio=rate / 100,
    )  # fmt: skip
    fields = {
        "role": role, "candidate": Candidate(bundle=bundle.path, runtime="openvino"),
        "model": bundle.manifest.name, "model_id": bundle.model_id, "status": status,
        "accuracy": accuracy, "speed": (speed,), "file_bytes": 10, "running_memory_bytes": 10**8,
    }  # fmt: skip
    return Row(**fields | changes)


def a_report(*rows: Row, **changes) -> Report:
    fields = {
        "created": "2026-01-01T00:00:00+00:00", "task": "embed", "batches": (8,), "rounds": 5,
        "data": DataSummary(kind="crops", sets={"yard": 8}, people=4, labelled=True),
        "machine": Machine(processor="CPU", cores=2, memory_bytes=2**30, system="Linux",
                           versions={"python": "3"}, busy=None),
        "gates": Gates(), "rows": rows,
    }  # fmt: skip
    return Report(**fields | changes)


def test_a_report_is_found_beside_the_bundle_that_it_is_about(tiny, make, tmp_path):
    report = a_report(a_row(tiny, "reference"), a_row(tiny))
    assert load_report(tiny) is None
    (place,) = save_for_all(report, [tiny])
    assert place == tiny.path.parent / f"tiny{SUFFIX}"
    assert str(tmp_path) not in place.read_text(), "the file may travel with the bundle"
    found = load_report(tiny)
    assert [row.accuracy for row in found.rows] == [row.accuracy for row in report.rows]
    # Other weights under the same name: the report is not theirs.
    shutil.rmtree(tiny.path)
    file = make.write_embedder(tmp_path / "new.onnx", seed=3)
    other = make.pack_embedder(tiny.path, file)
    assert other.model_id != tiny.model_id
    assert load_report(other) is None
    assert save_for_all(report, [other]) == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format_version": 2}', "x" * (5 << 20)])
def test_a_damaged_report_is_none(tiny, content):
    place = save_report(a_report(a_row(tiny)), tiny)
    place.write_text(content)
    assert load_report(tiny) is None


def test_a_bundle_in_a_folder_that_cannot_be_written_has_its_report_in_the_cache(
    tiny, private_cache, monkeypatch
):
    from crosscam_deploy.verify import store

    real = store._write

    def refuse(place: Path, text: str) -> None:
        if not place.is_relative_to(private_cache):
            raise PermissionError(13, "Permission denied", str(place))
        real(place, text)

    monkeypatch.setattr(store, "_write", refuse)
    place = save_report(a_report(a_row(tiny)), tiny)
    assert place.is_relative_to(private_cache)
    assert load_report(tiny) is not None
    monkeypatch.setattr(store, "_places", lambda _: iter([Path("/dev/null/x")]))
    with pytest.raises(RunError, match="cannot be kept"):
        save_report(a_report(a_row(tiny)), tiny)


def test_markdown_is_a_table_with_reasons_and_circumstances(tiny):
    refused = a_row(tiny, status="refused", reasons=("mAP fell by 9 | points",), rate=250.0)
    text = markdown(a_report(a_row(tiny, "reference"), refused))
    table = text.split("\n\n")[0].splitlines()
    assert len(table) == 4
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    assert "2.50x" in table[3]
    assert "50.00 (-0.10)" in table[3]
    assert "mAP fell by 9 \\| points" in text
    assert "8 crops (4 people)" in text


def test_columns_that_say_nothing_are_left_out(tiny):
    alone = a_row(tiny)
    bare = alone.model_copy(
        update={"speed": (alone.speed[0].model_copy(update={"ratio": None}),), "accuracy": None}
    )
    headings = [column.heading for column in columns(a_report(bare))]
    assert not {"model", "graph", "x, batch 8"} & set(headings)
    built = alone.model_copy(update={"model": "other", "graph_precision": "int8"})
    headings = [column.heading for column in columns(a_report(alone, built))]
    assert {"model", "graph", "x, batch 8"} <= set(headings)
    again = built.model_copy(update={"model": alone.model, "model_id": "f" * 64})
    both = a_report(alone, again)
    assert [named(both, row) for row in both.rows] == [
        "tiny f32, OpenVINO f32",
        "tiny int8, OpenVINO f32",
    ]
    mixed = [
        again.model_copy(update={"graph_precision": "mixed", "float_nodes": n}) for n in (3, 9)
    ]
    both = a_report(alone, *mixed)
    assert [named(both, row) for row in both.rows[1:]] == [
        "tiny mixed, 3 float, OpenVINO f32",
        "tiny mixed, 9 float, OpenVINO f32",
    ]


@pytest.mark.parametrize(("width", "tables"), [("400", 1), ("110", 2)])
def test_a_narrow_terminal_gets_two_tables(tiny, monkeypatch, capsys, width, tables):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", width)
    odd = a_row(tiny, model="[red]odd[/red]", status="refused", reasons=("too slow",))
    print_report(a_report(a_row(tiny, "reference"), odd))
    out = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert out.count("verdict") == tables
    assert out.count("cos mean") == out.count("x, batch 8") == 1
    assert "[red]odd[/red]" in out
    assert "[red]odd[/red], OpenVINO f32: too slow" in out


def test_what_auto_became_is_told(tiny):
    how = Candidate(bundle=tiny.path, runtime="openvino", precision="auto", threads=2)
    row = a_row(tiny, candidate=how, ran_precision="bf16")
    assert row.how() == "OpenVINO auto (bf16), 2 threads"


def test_a_busy_machine_is_told(tiny):
    def on(**machine):
        quiet = {"processor": "CPU", "cores": 2, "memory_bytes": 1, "system": "x", "versions": {}}
        return footer(a_report(a_row(tiny), machine=Machine(**quiet | {"busy": None} | machine)))

    assert "busy" not in on()
    assert "busy" not in on(busy=0.05, load=0.3)
    assert "others used 40%" in on(busy=0.4)
    assert "a load of 5.0" in on(busy=0.0, load=5.0)


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_needs_nothing_outside_and_text_stays_text(tiny):
    row = a_row(tiny, status="failed", model=EVIL, reasons=(EVIL,), accuracy=None, speed=())
    report = a_report(
        a_row(tiny, "reference"), row, data=DataSummary(kind="crops", sets={EVIL: 8}, people=None,
                                                        labelled=False)
    )  # fmt: skip
    text = html(report)
    tags = Tags(text).tags
    assert not any(tag in ("script", "link", "img", "iframe") for tag, _ in tags)
    assert not any(name.startswith("on") or name in ("src", "href") for _, a in tags for name in a)
    assert "alert(1)</script>" not in text
    assert "7*7" in text
    assert not re.search(r"https?://", text)
    assert "1 failed" in text


def an_engine(**changes) -> EngineFacts:
    fields = {
        "version": "1.7.1.116", "built_for": "compute capability 8.9", "buckets": (1, 8),
        "plan_bytes": 19_800_000, "plan_sha256": "a" * 64, "layers": None,
        "products": {"f32": 2, "int8": 26}, "seconds": 7.0,
    }  # fmt: skip
    return EngineFacts(**fields | changes)


def test_an_engine_that_was_built_and_not_run_claims_nothing(tiny, capsys):
    plan = Candidate(bundle=tiny.path, runtime="tensorrt-rtx", precision="auto")
    row = a_row(
        tiny, status="built", candidate=plan, accuracy=None, speed=(), engine=an_engine(),
        reasons=("built for compute capability 8.9, not run: there is no CUDA device here",),
    )  # fmt: skip
    report = a_report(a_row(tiny, "reference"), row)
    cells = {column.heading: column.cell(row) for column in columns(report)}
    assert cells["runs in"] == "TensorRT for RTX"
    assert cells["verdict"] == "built, not run"
    assert cells["engine"] == "19.8 MB"
    assert cells["computes in"] == "int8 26, f32 2 products, as read"
    for heading in ("cos mean", "top-1 same", "mAP", "ms, batch 8", "crops/s, batch 8"):
        assert cells[heading] == "\N{EN DASH}", heading
    other = {column.heading: column.cell(report.reference) for column in columns(report)}
    assert (other["engine"], other["computes in"]) == ("\N{EN DASH}", "\N{EN DASH}")
    assert report.fastest() is report.reference
    assert report.passed, "nothing was refused"
    assert "there is no CUDA device here" in markdown(report)
    assert "1 built, not run" in html(report)
    print_report(report)
    assert "built, not run" in capsys.readouterr().out
    measured = an_engine(layers={"f16": 9, "f32": 9, "int8": 30})
    assert measured.computes_in() == "int8 30, f16 9, f32 9 layers"
    assert an_engine(products=None).computes_in() == "not told"


def test_a_report_of_answers_only_has_no_times(tiny):
    rows = [a_row(tiny, "reference", speed=()), a_row(tiny, speed=())]
    report = a_report(*rows, rounds=0)
    assert not any("batch" in column.heading for column in columns(report))
    assert "nothing was timed" in footer(report)
    assert report.fastest() is None
    assert "Crops per second" not in html(report)


def test_the_fastest_that_may_be_used(tiny):
    report = a_report(
        a_row(tiny, "reference", rate=100.0),
        a_row(tiny, "baseline", rate=900.0),
        a_row(tiny, rate=200.0),
        a_row(tiny, rate=800.0, status="refused"),
    )
    assert report.fastest().speed[0].each_per_second == 200.0
    assert report.fastest(8) is report.rows[2]
    assert report.fastest(1) is None
    assert json.loads(report.model_dump_json())["rows"][1]["role"] == "baseline"


@pytest.mark.slow
def test_the_page_fits_a_screen_and_a_telephone(tiny, tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api")
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    if browser_path is None:
        pytest.skip("no chromium on PATH")
    rows = [a_row(tiny, "reference"), a_row(tiny, "baseline", rate=50.0), a_row(tiny, rate=300.0)]
    page_path = tmp_path / "verify.html"
    page_path.write_text(html(a_report(*rows)), encoding="utf-8")
    flags = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync"
    flags += " --disable-background-networking --disable-component-update"
    with sync_api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=browser_path, args=flags.split())
        for width in (1280, 360):
            page = browser.new_page(viewport={"width": width, "height": 800})
            problems: list[str] = []
            page.on("console", lambda m, to=problems: to.append(m.text))
            page.on("request", lambda r, to=problems: to.append(r.url) if "http" in r.url else None)
            page.goto(page_path.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            bars = page.locator(".chart .rail i")
            lengths = [bars.nth(k).bounding_box()["width"] for k in range(bars.count())]
            assert lengths == sorted(lengths, reverse=True)
            assert lengths[0] == pytest.approx(6 * lengths[2], rel=0.02)
            assert problems == []
        browser.close()


@pytest.mark.parametrize("engine", get_args(Engine))
def test_every_engine_has_a_name(engine):
    words = Candidate(bundle=Path("model"), runtime=engine).how()
    assert words.startswith(("ONNX Runtime", "OpenVINO", "torch", "TensorRT"))
    precisions = precisions_of(engine)
    assert precisions[0] == ("auto" if engine.startswith("tensorrt") else "f32")
