"""The text tower of an open_clip model as files of a bundle."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from crosscam_deploy.export.to_onnx import write_graph
from crosscam_deploy.runtime.onnxruntime_engine import session
from crosscam_deploy.text_tower import GRAPH, MERGES
from crosscam_kernels.errors import RunError

_MAX_ERROR = 1e-3
_PROBES = ("a person in a red coat", "somebody with a black bag and grey trousers")


def export_text(
    torch: Any, open_clip: Any, model: Any, architecture: str, beside: Path
) -> dict[str, Path]:
    """Write the text tower of a model.

    Args:
        torch: The module.
        open_clip: The module.
        model: Of open_clip.
        architecture: Its name.
        beside: Another file of the bundle; these are written into its folder.

    Returns:
        The files by their names in the bundle; none where texts are not read as CLIP reads them.

    Raises:
        RunError: The export failed, or the graph's answers differ from the tower's.
    """
    tokenizer = open_clip.get_tokenizer(architecture)
    plain = type(tokenizer) is open_clip.SimpleTokenizer and tokenizer.reduction_fn is None
    if not plain or tokenizer.clean_fn("A_B, c") != "a_b, c":
        return {}

    class TextTower(torch.nn.Module):  # type: ignore[misc]
        """The text tower with the L2 norm."""

        def __init__(self, clip: Any) -> None:
            super().__init__()
            self.clip = clip

        def forward(self, tokens: Any) -> Any:
            return self.clip.encode_text(tokens, normalize=True)

    tower = TextTower(model).eval()
    tokens = tokenizer(list(_PROBES))
    graph, merges = beside.with_name(GRAPH), beside.with_name(MERGES)
    write_graph(
        torch, tower, tokens[:1], {}, graph, output="text_embedding", name="text", given="tokens"
    )
    with torch.inference_mode():
        expected = tower(tokens).numpy()
    opened = session(graph)
    found = np.concatenate([opened.run(None, {"tokens": row[None]})[0] for row in tokens.numpy()])
    worst = float(np.abs(found - expected).max())
    if not worst <= _MAX_ERROR:
        raise RunError(
            f"the exported text tower of {architecture} differs from the network by {worst:.2g}",
            expected=f"at most {_MAX_ERROR}",
            fix="update torch and onnxscript, and report the model",
        )
    shutil.copyfile(Path(open_clip.tokenizer.default_bpe()), merges)
    return {GRAPH: graph, MERGES: merges}
