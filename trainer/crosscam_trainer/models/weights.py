"""Weights of CLIP models: found by path or on the hub, checked, fitted to pictures of people.

Nothing that is opened here can run code: safetensors, or torch files read with `weights_only`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import open_clip
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from crosscam_deploy.hashing import sha256_file
from crosscam_deploy.paths import MODELS_ENV, cache_dir, model_dirs, packaged_dir
from crosscam_deploy.zoo.download import fetch
from crosscam_deploy.zoo.entries import ZooFile
from crosscam_kernels.errors import InputError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

HUB = "https://huggingface.co/{}/resolve/main/open_clip_model.safetensors"
_FIRST_TAG = {
    "RN50": "openai",
    "ViT-B-16": "openai",
    "MobileCLIP2-S0": "dfndr2b",
    "PE-Core-T-16-384": "meta",
}


class Weights(NamedTuple):
    """A checkpoint that was found.

    Attributes:
        path: The file, checked if its sha256 was given.
        sha256: Of the file.
        source: Where it comes from, for manifests and cards.
        quick_gelu: Whether it was trained with the sigmoid approximation of GELU.
    """

    path: Path
    sha256: str
    source: str
    quick_gelu: bool = False


class Checkpoint(NamedTuple):
    """What a checkpoint holds.

    Attributes:
        tensors: By name.
        facts: What crosscam wrote beside them; empty for those of others.
    """

    tensors: dict[str, Tensor]
    facts: dict[str, str]


def find_weights(tower: str, weights: str, sha256: str | None = None) -> Weights:
    """Find the checkpoint that a recipe names, download it if it has to be, and check it.

    Args:
        tower: Name of the architecture.
        weights: A path (tried as it is, then in the folders of ``CROSSCAM_MODELS``); the name of
            weights that come with crosscam, "crosscam-reid"; "hub" for the weights that open_clip's
            authors recommend, or "hub:TAG" for others of
            `open_clip.list_pretrained_tags_by_model`. Weights of the hub are looked up in the
            folders of ``CROSSCAM_MODELS`` as ``<tower>-<tag>.safetensors`` before they are
            downloaded.
        sha256: What the file must have. Without, a first download is trusted and its hash kept: a
            later one that differs is refused.

    Raises:
        InputError: There is no such file, no such tag, or the file has another sha256.
        RunError: It must be downloaded and cannot be; says where to put it by hand.
    """
    if weights == "hub" or weights.startswith("hub:"):
        found = _on_hub(tower, weights.partition(":")[2], sha256)
    else:
        found = _by_path(weights, tower)
    digest = sha256_file(found.path)
    if sha256 is not None and digest != sha256:
        raise InputError(
            f"{found.path} has sha256 {digest}",
            expected=f"sha256 {sha256}, as model.weights_sha256 says",
            fix="it is another file than the recipe means, or damaged: get it again",
        )
    return found._replace(sha256=digest)


def _by_path(weights: str, tower: str) -> Weights:
    path = Path(weights).expanduser()
    places = [path, *(folder / weights for folder in model_dirs())]
    for place in places:
        if place.is_file():
            return Weights(place, "", place.name, tower.endswith("-quickgelu"))
    own = _packaged()
    if weights in own:
        return _checked(own[weights], weights)
    raise InputError(
        f"there are no weights at {weights}",
        expected=f"a file, there or in a folder of {MODELS_ENV}, or {', '.join(own) or 'a path'}",
        fix="correct model.weights, or leave it out to start from random weights",
    )


def _packaged() -> dict[str, Path]:
    """Return the notes of the weights that come with crosscam, by name."""
    notes = sorted(packaged_dir().glob("*.weights.json"))
    return {note.name.removesuffix(".weights.json"): note for note in notes}


def _checked(note: Path, name: str) -> Weights:
    """Return weights that come with crosscam, if they are the ones that came with it."""
    about = json.loads(note.read_text(encoding="utf-8"))
    path = note.with_name(about["file"])
    digest = sha256_file(path) if path.is_file() else "no file"
    if digest != about["sha256"]:
        raise InputError(
            f"{path}: {digest}", expected=f"sha256 {about['sha256']}", fix="install crosscam again"
        )
    return Weights(path, digest, f"{name}, with crosscam")


def _on_hub(tower: str, tag: str, sha256: str | None) -> Weights:
    known = open_clip.list_pretrained_tags_by_model(tower)
    tag = tag or _FIRST_TAG.get(tower) or (known[0] if known else "")
    config: dict[str, Any] = open_clip.get_pretrained_cfg(tower, tag) if tag in known else {}
    repository = str(config.get("hf_hub", "")).strip("/")
    if not repository:
        raise InputError(
            f"model.weights=hub{':' + tag if tag else ''}: the hub has none for {tower}",
            expected=f"one of {', '.join(known)}" if known else "a path, or no weights",
            fix="correct model.weights, or leave it out to start from random weights",
        )
    name = f"{tower}-{tag}.safetensors"
    path = next((f / name for f in model_dirs() if (f / name).is_file()), None)
    if path is None:
        file = ZooFile(name=name, url=HUB.format(repository), sha256=sha256)
        path = fetch(file, cache_dir() / "downloads" / "open_clip" / name)
    return Weights(path, "", f"open_clip {tower}/{tag}", bool(config.get("quick_gelu", False)))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read tensors without running code from the file.

    Args:
        path: ``.safetensors``, or a file of `torch.save` that holds nothing but tensors.

    Raises:
        InputError: Another format, damaged, or a pickle or TorchScript file that would run code.
    """
    facts: dict[str, str] = {}
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as opened:
                facts = dict(opened.metadata() or {})
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} cannot be read ({error})", fix="get the file again") from error
    except Exception as error:  # torch's unpickler fails in many ways
        raise InputError(
            f"{path} holds more than tensors, or is damaged ({str(error).splitlines()[0][:200]})",
            expected="safetensors, or a state_dict saved by torch.save",
            fix="convert it where you trust it; OpenAI's .pt files are programs (TorchScript), "
            "the hub has the same weights as safetensors: model.weights=hub",
        ) from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path} holds no tensors", expected="a state_dict")
    tensors = {
        str(key).removeprefix("module."): value
        for key, value in content.items()
        if isinstance(value, torch.Tensor)
    }
    return Checkpoint(tensors, facts)


def grid_fact(facts: dict[str, str]) -> tuple[int, int] | None:
    """Return rows and columns of the positions in a checkpoint of crosscam; None if unknown."""
    text = facts.get("grid")
    if text is None:
        return None
    try:
        rows, columns = (int(part) for part in text.split("x"))
    except ValueError as error:
        raise UsageError(f"a checkpoint's grid {text!r}", expected="such as 16x8") from error
    return rows, columns
