"""The kinds of data sets: which there are, how one is recognised, reading by name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from crosscam_deploy.log import get_logger
from crosscam_kernels.errors import InputError, UsageError
from crosscam_trainer.data.build import build
from crosscam_trainer.data.findings import Findings
from crosscam_trainer.data.readers import (
    ccvid,
    celeb,
    cuhk03,
    deepchange,
    generic,
    last,
    ltcc,
    market,
    msmt17,
    prcc,
    simulated,
    site,
    vc_clothes,
)
from crosscam_trainer.data.scan import existing_folder, find_root, images, marked

if TYPE_CHECKING:
    import re
    from collections.abc import Callable
    from pathlib import Path

    from crosscam_trainer.data.build import Rows
    from crosscam_trainer.data.readers.generic import GenericLayout
    from crosscam_trainer.data.types import EvaluationProtocol, ReIDData

_log = get_logger("data")
GENERIC = "generic"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of data set.

    Attributes:
        name: For `--kind`.
        read: Reads a folder into rows and notes what is wrong.
        markers: Files or folders that are in its folder, all of them; ``a|b`` is one or the other.
        folders: Usual names of its folder, as in its archive.
        protocols: Makes its protocols from the numbers of cameras; the standard one if None.
        picture: Form of the names in the first marker, where others have the same markers.
        named: Text in the name of its folder, where nothing else tells it from another kind.
    """

    name: str
    read: Callable[[Path, Findings], Rows]
    markers: tuple[str, ...]
    folders: tuple[str, ...] = ()
    protocols: Callable[[dict[str, int]], tuple[EvaluationProtocol, ...]] | None = None
    picture: re.Pattern[str] | None = None
    named: str = ""

    def root(self, path: Path) -> Path:
        """Return the folder of the set: `path`, or one with a usual name in it."""
        return find_root(path, self.markers, self.folders)

    def recognises(self, path: Path) -> bool:
        """Whether a folder, or one with a usual name in it, looks like this kind."""
        root = self.root(path)
        if not all(marked(root, marker) for marker in self.markers):
            return False
        if self.named and self.named not in root.name.lower():
            return False
        if self.picture is None:
            return True
        first = next(images(root / self.markers[0]), None)
        return first is not None and self.picture.fullmatch(first.name) is not None


@dataclass(frozen=True, slots=True)
class Reading:
    """What reading a folder gave.

    Attributes:
        kind: Name of the kind.
        data: What could be read; with errors among the findings, not everything.
        findings: What is wrong.
        junk: Pictures that were left out because the protocol ignores them.
    """

    kind: str
    data: ReIDData
    findings: Findings
    junk: int


_MARKET = tuple(market.FOLDERS.values())
_LTCC = tuple(ltcc.FOLDERS.values())
_THREE = ("train", "query", "gallery")
_ALL = (
    Kind("site", site.read, (site.INFO, site.TABLE), site.NAMES, site.protocols),
    Kind(
        "simulated",
        simulated.read,
        (simulated.PEOPLE, simulated.CROPS),
        protocols=simulated.protocols,
    ),
    Kind("market1501", market.read_market, _MARKET, market.NAMES, picture=market.MARKET),
    Kind("dukemtmc", market.read_duke, _MARKET, market.DUKE_NAMES, picture=market.DUKE),
    Kind("msmt17", msmt17.read, ("list_train.txt", "list_gallery.txt"), msmt17.NAMES),
    Kind("cuhk03-detected", cuhk03.read_detected, cuhk03.DETECTED, cuhk03.NAMES),
    Kind("cuhk03-labeled", cuhk03.read_labeled, cuhk03.LABELED, cuhk03.NAMES),
    Kind("prcc", prcc.read, ("train", "test/A"), prcc.NAMES, prcc.protocols),
    Kind("ltcc", ltcc.read, _LTCC, ltcc.NAMES, ltcc.protocols, ltcc.NAME),
    Kind(
        "vc-clothes",
        vc_clothes.read,
        _THREE,
        vc_clothes.NAMES,
        vc_clothes.protocols,
        vc_clothes.NAME,
    ),
    Kind("celeb-reid", celeb.read, _THREE, celeb.NAMES, celeb.protocols, celeb.NAME),
    Kind(
        "celeb-reid-light",
        celeb.read_light,
        _THREE,
        celeb.LIGHT_NAMES,
        celeb.protocols,
        celeb.NAME,
        "light",
    ),
    Kind(
        "deepchange",
        deepchange.read,
        ("train-set", "test-set-query"),
        deepchange.NAMES,
        deepchange.protocols,
    ),
    Kind("last", last.read, ("train", "val/query", "test/query"), last.NAMES, last.protocols),
    Kind("ccvid", ccvid.read, ("session1", "train.txt"), ccvid.NAMES, ccvid.protocols),
)
KINDS: dict[str, Kind] = {kind.name: kind for kind in _ALL}


def recognise(path: Path) -> str:
    """Find out which kind of data set a folder holds.

    Raises:
        InputError: It does not exist, or looks like none, or like several.
    """
    existing_folder(path)
    found = [kind.name for kind in KINDS.values() if kind.recognises(path)]
    # Nothing but the name of the folder tells the light set from the whole one.
    if "celeb-reid-light" in found and "celeb-reid" in found:
        found.remove("celeb-reid")
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(
            f"{path} could be {' or '.join(found)}", fix=f"choose with --kind {found[0]}"
        )
    raise InputError(
        f"{path} looks like no data set that is known",
        expected="the layouts in docs/reference/datasets.md",
        fix="say how it is named: --pattern '{person}/{camera}_{view}.png', or give --kind; in a "
        "recipe data.pattern and data.kind",
    )


def read(path: Path, kind: str | None = None, layout: GenericLayout | None = None) -> Reading:
    """Read a data set as far as possible, and note what is wrong.

    Args:
        path: Its folder, or the one above.
        kind: A name of `KINDS` or "generic"; recognised when None.
        layout: For "generic", and only there.

    Raises:
        InputError: The folder does not exist, or is not recognised.
        UsageError: Unknown kind; a layout without "generic" or the reverse.
    """
    existing_folder(path)
    chosen = _generic(layout) if layout is not None else None
    if kind is None:
        kind = recognise(path) if chosen is None else GENERIC
    if (kind == GENERIC) != (chosen is not None):
        raise UsageError(
            f"kind {kind!r} {'without' if kind == GENERIC else 'with'} a pattern",
            expected="a pattern with the kind 'generic', and only there",
            fix="--pattern '{person}/{camera}_{view}.png'",
        )
    if chosen is None:
        if kind not in KINDS:
            raise UsageError(f"kind {kind!r} is not known", expected=", ".join([*KINDS, GENERIC]))
        chosen = KINDS[kind]
    root = chosen.root(path)
    findings = Findings()
    try:
        rows = chosen.read(root, findings)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{root} cannot be read ({error})", expected=f"a data set of kind {kind}"
        ) from error
    data = build(kind, root, rows, chosen.protocols)
    return Reading(kind, data, findings, rows.junk)


def load(path: Path, kind: str | None = None, layout: GenericLayout | None = None) -> ReIDData:
    """Read a data set to work with it.

    Args:
        path: Its folder, or the one above.
        kind: A name of `KINDS` or "generic"; recognised when None.
        layout: For "generic", and only there.

    Raises:
        InputError: It is broken, or not recognised. Counts are not compared with published ones:
            a part of a set is a set (`check` compares).
        UsageError: As in `read`.
    """
    reading = read(path, kind, layout)
    reading.findings.raise_errors(reading.data.root)
    for finding in reading.findings.items:
        _log.warning(finding.found, code=finding.code, severity=finding.severity)
    return reading.data


def _generic(layout: GenericLayout) -> Kind:
    layout.parsed()  # a wrong pattern is reported before anything is read
    return Kind(
        GENERIC,
        partial(generic.read, layout),
        (),
        protocols=partial(generic.protocols, layout),
    )
