"""Put everything that an installation without network needs into one folder.

The folder holds the wheel of crosscam, the wheels of all it depends on, models as zipped bundles,
``install.sh``, and ``SHA256SUMS`` over all of it, signed where a key is given. Run it in crosscam's
own environment, where there is a network::

    make wheelhouse
    python packaging/air-gapped/wheelhouse.py --output dist/wheelhouse --sign ~/.ssh/release
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crosscam_deploy.bundle import Bundle

ROOT = Path(__file__).resolve().parents[2]
SUMS = "SHA256SUMS"
NAMESPACE = "crosscam"
# Wheels for these versions of the C library (2.x) are taken: the target needs the newest of them.
GLIBC = (17, 24, 26, 27, 28, 31, 34, 35)


def main(argv: Sequence[str] | None = None) -> int:
    """Make the folder and say what is in it."""
    args = _parser().parse_args(argv)
    target: Path = args.output
    if target.exists():
        return _fail(f"found: {target} is there already; fix: remove it, or name another folder")
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "wheels").mkdir(parents=True)
    try:
        python = _python_version(args.python)
        wheel = _own_wheel(args, partial / "wheels")
        _lock(args, partial, wheel, python)
        _download(args, partial, python)
        models = _models(args.model, partial / "models")
    except (subprocess.CalledProcessError, ValueError) as error:
        return _fail(str(error))
    release = {
        "version": wheel.name.split("-")[1],
        "python": python,
        "machine": args.machine,
        "extras": sorted(args.extra),
        "models": models,
    }
    (partial / "release.json").write_text(json.dumps(release, indent=1) + "\n")
    _copy_extras(partial)
    write_sums(partial)
    if args.sign:
        sign(partial, args.sign)
    partial.rename(target)
    _report(target, release, signed=bool(args.sign))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder to make")
    parser.add_argument("--extra", action="append", default=[], help="extra of crosscam: train …")
    parser.add_argument(
        "--python", default=sys.executable, help="interpreter of the target's version"
    )
    parser.add_argument("--machine", choices=("x86_64", "aarch64"), default=platform.machine())
    parser.add_argument("--wheel", type=Path, help="crosscam's wheel; built here when left out")
    parser.add_argument(
        "--model",
        action="append",
        help="model to add, by name or path; default: the best detector and embedder on this "
        "machine; 'none' for none",
    )
    parser.add_argument("--sign", type=Path, metavar="KEY", help="private key of ssh-keygen")
    return parser


def _fail(message: str) -> int:
    sys.stderr.write(f"{message}\nno folder was made\n")
    return 4


def _run(*command: str | Path) -> str:
    """Run a program; its errors are shown as they are."""
    done = subprocess.run(
        [str(part) for part in command], cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE
    )
    return done.stdout


def _uv() -> Path:
    beside = Path(sys.executable).with_name("uv")
    found = beside if beside.exists() else shutil.which("uv")
    if not found:
        raise ValueError("found: no uv; fix: run this as `make wheelhouse`")
    return Path(found)


def _python_version(python: str) -> str:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    return _run(python, "-c", code).strip()


def _own_wheel(args: argparse.Namespace, wheels: Path) -> Path:
    """Return crosscam's wheel in the folder: the one that was given, or one built here."""
    if args.wheel:
        return Path(shutil.copy2(args.wheel, wheels))
    if args.machine != platform.machine():
        raise ValueError(
            f"found: no wheel for {args.machine}; expected: --wheel FILE, built on such a machine "
            "with `make wheel`"
        )
    _run(
        _uv(), "build", "--quiet", "--wheel", "--build-constraints", "constraints.txt",
        "--python", args.python, "--out-dir", wheels.resolve(), ROOT,
    )  # fmt: skip
    return next(wheels.glob("crosscam-*.whl"))


def _lock(args: argparse.Namespace, folder: Path, wheel: Path, python: str) -> None:
    """Write ``requirements.txt``: crosscam and all it needs, with versions and hashes."""
    extras = f"[{','.join(sorted(args.extra))}]" if args.extra else ""
    wanted = folder / "wanted.in"
    wanted.write_text(f"crosscam{extras} @ {wheel.resolve().as_uri()}\npip\n")
    locked = _run(
        _uv(), "pip", "compile", "--quiet", wanted.resolve(), "-c", "constraints.txt",
        "--python-version", python,
        "--python-platform", f"{args.machine}-manylinux_2_{GLIBC[-1]}",
        "--only-binary", ":all:", "--generate-hashes", "--no-emit-package", "crosscam",
        "--no-emit-index-url", "--no-header", "--no-annotate",
    )  # fmt: skip
    wanted.unlink()
    locked = "".join(x for x in locked.splitlines(keepends=True) if not x.startswith("#"))
    own = hashlib.sha256(wheel.read_bytes()).hexdigest()
    version = wheel.name.split("-")[1]
    text = f"{locked}crosscam=={version} \\\n    --hash=sha256:{own}\n"
    (folder / "requirements.txt").write_text(text)


def _download(args: argparse.Namespace, folder: Path, python: str) -> None:
    """Fetch the wheels of all locked packages but crosscam, checking each hash."""
    others = folder / "others.txt"
    text = (folder / "requirements.txt").read_text()
    others.write_text(text[: text.index("crosscam==")])
    tags = [f"manylinux_2_{minor}_{args.machine}" for minor in GLIBC]
    tags += [f"manylinux2014_{args.machine}", f"manylinux1_{args.machine}", f"linux_{args.machine}"]
    _run(
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--require-hashes", "--only-binary", ":all:", "--implementation", "cp",
        "--python-version", python, *(part for tag in tags for part in ("--platform", tag)),
        "--dest", (folder / "wheels").resolve(), "-r", others.resolve(),
    )  # fmt: skip
    others.unlink()


def _models(names: list[str] | None, folder: Path) -> list[dict[str, str]]:
    """Zip the wanted models, each checked against its manifest first."""
    from crosscam_deploy.zoo.lookup import best_available, is_packaged, resolve

    folder.mkdir()
    if names is None:
        at_hand = [best_available(task, packaged=False) for task in ("detect", "embed")]
        bundles = [bundle for bundle in at_hand if bundle is not None]
    else:
        bundles = [resolve(name) for name in names if name != "none"]
    for bundle in bundles:
        if not is_packaged(bundle):
            zip_bundle(bundle, folder / f"{bundle.manifest.name}.zip")
    return [
        {"name": m.name, "task": m.task, "licence": m.licence, "model_id": m.model_id}
        for m in (bundle.manifest for bundle in bundles)
    ]


def zip_bundle(bundle: Bundle, target: Path) -> None:
    """Write a bundle as a zip whose bytes follow from its content alone."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ["manifest.json", *sorted(bundle.manifest.files)]:
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, (bundle.path / name).read_bytes())


def _copy_extras(folder: Path) -> None:
    (folder / "extras").mkdir()
    shutil.copy2(ROOT / "packaging/bin/crosscam-nightly", folder / "extras")
    shutil.copytree(ROOT / "packaging/systemd", folder / "extras/systemd")
    for name in ("LICENSE", "NOTICE", "packaging/air-gapped/install.sh"):
        shutil.copy2(ROOT / name, folder)
    shutil.copy2(ROOT / "docs/guides/air-gapped.md", folder / "README.md")


def write_sums(folder: Path) -> None:
    """Write ``SHA256SUMS`` over every file of the folder, as ``sha256sum --check`` reads it.

    Raises:
        ValueError: A name that does not stand on a line of it.
    """
    lines = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if name in (SUMS, f"{SUMS}.sig"):
            continue
        if not re.fullmatch(r"[\w./+!@ -]+", name):
            raise ValueError(f"found: the file name {name!r}; expected: letters, digits and ._+!@-")
        with path.open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n")
    (folder / SUMS).write_text("".join(lines))


def sign(folder: Path, key: Path) -> None:
    """Sign ``SHA256SUMS`` with a key of ssh-keygen, a file or one on a token."""
    (folder / f"{SUMS}.sig").unlink(missing_ok=True)
    _run("ssh-keygen", "-q", "-Y", "sign", "-n", NAMESPACE, "-f", key.expanduser().resolve(),
         (folder / SUMS).resolve())  # fmt: skip


def _report(target: Path, release: dict[str, object], *, signed: bool) -> None:
    files = [p for p in target.rglob("*") if p.is_file()]
    size = sum(p.stat().st_size for p in files) / 1e6
    wheels = sum(p.suffix == ".whl" for p in files)
    sys.stdout.write(
        f"{target}: crosscam {release['version']} for Python {release['python']} on "
        f"{release['machine']}; {wheels} wheels, {size:.0f} MB; "
        f"{'signed' if signed else 'not signed'}\n"
    )
    for model in release["models"] or []:  # type: ignore[attr-defined]
        sys.stdout.write(f"  model {model['name']} ({model['task']}), licence {model['licence']}\n")


if __name__ == "__main__":
    sys.exit(main())
