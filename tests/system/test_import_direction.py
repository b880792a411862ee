"""The architecture, asserted: who may import whom, and what must never be loaded."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "crosscam_kernels": ROOT / "kernels/crosscam_kernels",
    "crosscam_deploy": ROOT / "deploy/crosscam_deploy",
    "crosscam_trainer": ROOT / "trainer/crosscam_trainer",
    "crosscam_edge": ROOT / "edge/crosscam_edge",
}
ALLOWED = {
    "crosscam_kernels": {"crosscam_kernels"},
    "crosscam_deploy": {"crosscam_kernels", "crosscam_deploy"},
    "crosscam_trainer": {"crosscam_kernels", "crosscam_deploy", "crosscam_trainer"},
    "crosscam_edge": {"crosscam_kernels", "crosscam_deploy", "crosscam_edge"},
}
# Rooms that are entered only by who has torch.
TORCH_ROOMS = {"torch_ops", "gpu", "reference"}
HEAVY = {"torch", "torchvision", "open_clip", "ultralytics", "triton", "onnx", "trackeval"}


def _imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if not top_level_only else _run_at_import(tree)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative imports hide the direction"
            found.add(node.module)
    return found


def _run_at_import(tree: ast.Module) -> list[ast.AST]:
    """Statements that run when the module is imported: not those of functions or type checking."""
    stack: list[ast.AST] = list(tree.body)
    nodes: list[ast.AST] = []
    while stack:
        node = stack.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        nodes.append(node)
        stack.extend(ast.iter_child_nodes(node))
    return nodes


def _sources() -> list[tuple[str, Path]]:
    return [(name, path) for name, root in PACKAGES.items() for path in sorted(root.rglob("*.py"))]


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package: str) -> None:
    for path in PACKAGES[package].rglob("*.py"):
        if package == "crosscam_edge" and "cli" in path.relative_to(PACKAGES[package]).parts:
            continue  # the command line stands above all components
        imports = _imports(path)
        if package == "crosscam_trainer" and path.parent.name == "people":
            # The people generator is a client of the simulator, and of nothing else at the edge.
            imports = {name for name in imports if not name.startswith("crosscam_edge.simulate")}
        ours = {name.split(".")[0] for name in imports} & set(PACKAGES)
        assert ours <= ALLOWED[package], f"{path} imports {ours - ALLOWED[package]}"


def test_nothing_in_the_edge_imports_the_command_line() -> None:
    root = PACKAGES["crosscam_edge"]
    for path in root.rglob("*.py"):
        if "cli" in path.relative_to(root).parts:
            continue
        assert not any(name.startswith("crosscam_edge.cli") for name in _imports(path)), path


def test_no_module_loads_a_heavy_optional_dependency_on_import() -> None:
    for package, path in _sources():
        if package == "crosscam_trainer":
            continue
        if (
            package == "crosscam_kernels"
            and path.relative_to(PACKAGES[package]).parts[0] in TORCH_ROOMS
        ):
            continue
        names = {name.split(".")[0] for name in _imports(path, top_level_only=True)}
        assert not names & HEAVY, f"{path} imports {names & HEAVY} at the top"


def _loaded_modules(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint('\\n'.join(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_every_edge_module_loads_no_torch() -> None:
    root = PACKAGES["crosscam_edge"].parent
    modules = [
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        for path in PACKAGES["crosscam_edge"].rglob("*.py")
        if path.name != "__main__.py"
    ]
    loaded = _loaded_modules("\n".join(f"import {name}" for name in modules))
    assert "crosscam_edge.types" in loaded
    assert not {name.split(".")[0] for name in loaded} & HEAVY


def test_importing_the_kernels_loads_no_torch() -> None:
    root = PACKAGES["crosscam_kernels"]
    modules = [f"crosscam_kernels.{path.stem}" for path in root.glob("*.py")]
    loaded = _loaded_modules(
        "\n".join(f"import {name}" for name in modules)
        + "\nimport crosscam_kernels.reference.similarity, crosscam_kernels.reference.crop"
    )
    assert not {name.split(".")[0] for name in loaded} & HEAVY


def test_help_is_light() -> None:
    loaded = _loaded_modules(
        "from click.testing import CliRunner\n"
        "from crosscam_edge.cli import cli\n"
        "result = CliRunner().invoke(cli, ['--help'])\n"
        "assert result.exit_code == 0 and 'process' in result.output, result.output"
    )
    roots = {name.split(".")[0] for name in loaded}
    assert not roots & (HEAVY | {"cv2", "numpy", "openvino", "onnxruntime", "av", "pyarrow"})


def test_a_live_run_tells_openblas_its_threads_before_it_is_loaded() -> None:
    """Later it would not be heard, and its threads spin on cores that pictures need."""
    loaded = _loaded_modules(
        "import os\n"
        "os.environ.pop('OPENBLAS_NUM_THREADS', None)\n"
        "import sys\n"
        "import crosscam_edge.cli.run\n"
        "assert 'numpy' not in sys.modules\n"
        "from click.testing import CliRunner\n"
        "from crosscam_edge.cli import cli\n"
        "CliRunner().invoke(cli, ['run', os.devnull, '-o', 'out'])\n"
        "assert os.environ['OPENBLAS_NUM_THREADS'] == '1'\n"
    )
    assert "numpy" in loaded
