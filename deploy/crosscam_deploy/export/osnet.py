"""OSNet checkpoints into embedder bundles.

Zhou et al., Omni-Scale Feature Learning for Person Re-Identification, ICCV 2019, arXiv 1905.00953.
The network is written here after the paper, with the parameter names of the authors' checkpoints,
so that neither their package nor a pickle of its classes is needed. Its width follows from the
checkpoint.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosscam_deploy.export.to_onnx import export_embedder
from crosscam_deploy.importer import bundle_name, keep_if_it_runs
from crosscam_deploy.manifest import Preprocessing
from crosscam_deploy.packing import pack
from crosscam_deploy.paths import cache_dir, model_dirs
from crosscam_deploy.zoo.download import fetch
from crosscam_deploy.zoo.entries import ZooFile
from crosscam_kernels.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from crosscam_deploy.bundle import Bundle
    from crosscam_deploy.zoo.entries import ZooEntry

_WIDTHS = (64, 256, 384, 512)
_FEATURES = 512


def export_osnet_entry(entry: ZooEntry, target: Path, *, progress: bool) -> Bundle:
    """Find or download the checkpoint of a zoo entry and export it: see `export_entry`."""
    _torch()
    assert entry.export is not None
    name = entry.export.checkpoint
    local = next((folder / name for folder in model_dirs() if (folder / name).is_file()), None)
    if local is None:
        file = ZooFile(name=name, url=entry.export.url)
        local = fetch(file, cache_dir() / "downloads" / entry.name / name, progress=progress)
    return export_osnet(local, target, entry)


def export_osnet(checkpoint: Path, target: Path, entry: ZooEntry) -> Bundle:
    """Export an OSNet checkpoint of any width.

    Args:
        checkpoint: ``.pth`` with the authors' parameter names; read without running code from it.
        target: Folder of the new bundle.
        entry: Name, licence and pre-processing for the manifest.

    Raises:
        MissingExtraError: torch is not installed.
        InputError: Not an OSNet checkpoint.
        RunError: The graph's answers differ from the network's.
    """
    torch = _torch()
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        weights = content.get("state_dict", content)
        weights = {key.removeprefix("module."): value for key, value in weights.items()}
        network = build_osnet(torch, width=weights["conv1.conv.weight"].shape[0] / _WIDTHS[0])
        weights = {k: v for k, v in weights.items() if not k.startswith("classifier.")}
        network.load_state_dict(weights)
    except Exception as error:  # pickles, zips and tensors fail in many ways
        raise InputError(
            f"{checkpoint.name} is not an OSNet checkpoint ({type(error).__name__}: "
            f"{str(error).splitlines()[0][:200]})",
            expected="a .pth of torchreid's osnet_x0_25 … osnet_x1_0",
            fix="download it again",
        ) from error
    assert entry.preprocessing is not None
    prep: Preprocessing = entry.preprocessing
    with tempfile.TemporaryDirectory(prefix="crosscam-export-") as folder:
        file = Path(folder) / f"{bundle_name(entry.name)}.onnx"
        export_embedder(torch, network.eval(), (prep.height, prep.width), file, name=entry.name)
        bundle = pack(
            target,
            name=target.name,
            task="embed",
            files={file.name: file},
            preprocessing=prep,
            decoder=None,
            licence=entry.licence,
            source=entry.source,
            training=entry.training,
            accuracy=entry.accuracy,
        )
    return keep_if_it_runs(bundle)


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("the export of OSNet", "train") from error
    return torch


def build_osnet(torch: Any, *, width: float) -> Any:
    """Return an untrained OSNet without classifier: `(B, 3, 256, 128)` to `(B, 512)`.

    Args:
        torch: The module.
        width: Factor on the channels, 0.25 to 1.
    """
    nn = torch.nn
    channels = [round(width * size) for size in _WIDTHS]

    def conv(inputs: int, outputs: int, size: int = 1, *, relu: bool = True, **more: int) -> Any:
        layers = {"conv": nn.Conv2d(inputs, outputs, size, bias=False, **more)}
        layers["bn"] = nn.BatchNorm2d(outputs)
        if relu:
            layers["relu"] = nn.ReLU()
        return _named(nn, layers)

    def lite(size: int) -> Any:
        """Lite 3 x 3: a pointwise and then a depthwise convolution (paper, section 3.1)."""
        layers = {"conv1": nn.Conv2d(size, size, 1, bias=False)}
        layers["conv2"] = nn.Conv2d(size, size, 3, padding=1, groups=size, bias=False)
        layers |= {"bn": nn.BatchNorm2d(size), "relu": nn.ReLU()}
        return _named(nn, layers)

    class Gate(nn.Module):  # type: ignore[misc, name-defined]
        """Channel weights shared by all scales: the aggregation gate (section 3.2)."""

        def __init__(self, size: int) -> None:
            super().__init__()
            self.fc1 = nn.Conv2d(size, size // 16, 1)
            self.fc2 = nn.Conv2d(size // 16, size, 1)

        def forward(self, x: Any) -> Any:
            pooled = x.mean((2, 3), keepdim=True)
            return x * torch.sigmoid(self.fc2(torch.relu(self.fc1(pooled))))

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        """Omni-scale residual block: streams of one to four lite layers, gated and added."""

        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            middle = outputs // 4
            self.conv1 = conv(inputs, middle)
            self.conv2a = lite(middle)
            self.conv2b = nn.Sequential(*[lite(middle) for _ in range(2)])
            self.conv2c = nn.Sequential(*[lite(middle) for _ in range(3)])
            self.conv2d = nn.Sequential(*[lite(middle) for _ in range(4)])
            self.gate = Gate(middle)
            self.conv3 = conv(middle, outputs, relu=False)
            self.downsample = conv(inputs, outputs, relu=False) if inputs != outputs else None

        def forward(self, x: Any) -> Any:
            identity = x if self.downsample is None else self.downsample(x)
            x = self.conv1(x)
            streams = (self.conv2a, self.conv2b, self.conv2c, self.conv2d)
            mixed = sum(self.gate(stream(x)) for stream in streams)
            return torch.relu(self.conv3(mixed) + identity)

    def stage(inputs: int, outputs: int, *, shrink: bool) -> Any:
        layers = [Block(inputs, outputs), Block(outputs, outputs)]
        if shrink:
            layers.append(nn.Sequential(conv(outputs, outputs), nn.AvgPool2d(2)))
        return nn.Sequential(*layers)

    class OsNet(nn.Module):  # type: ignore[misc, name-defined]
        """The whole network up to the 512 features."""

        def __init__(self) -> None:
            super().__init__()
            self.conv1 = conv(3, channels[0], 7, stride=2, padding=3)
            self.maxpool = nn.MaxPool2d(3, 2, 1)
            self.conv2 = stage(channels[0], channels[1], shrink=True)
            self.conv3 = stage(channels[1], channels[2], shrink=True)
            self.conv4 = stage(channels[2], channels[3], shrink=False)
            self.conv5 = conv(channels[3], channels[3])
            head = (nn.Linear(channels[3], _FEATURES), nn.BatchNorm1d(_FEATURES), nn.ReLU())
            self.fc = nn.Sequential(*head)

        def forward(self, images: Any) -> Any:
            x = self.maxpool(self.conv1(images))
            x = self.conv5(self.conv4(self.conv3(self.conv2(x))))
            return self.fc(x.mean((2, 3)))

    return OsNet()


def _named(nn: Any, layers: dict[str, Any]) -> Any:
    sequence = nn.Sequential()
    for name, layer in layers.items():
        sequence.add_module(name, layer)
    return sequence
