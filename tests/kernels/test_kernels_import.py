"""Importing the package stays light, and its names are where they are promised."""

from __future__ import annotations

import subprocess
import sys

import pytest

import crosscam_kernels
from crosscam_kernels import ops


def test_errors_load_neither_numpy_nor_the_native_library() -> None:
    code = (
        "import sys, crosscam_kernels, crosscam_kernels.errors;"
        "print([m for m in ('numpy', 'torch', 'crosscam_kernels._native') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_operators_load_no_torch() -> None:
    code = "import sys, crosscam_kernels.ops; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_package_offers_every_operator() -> None:
    assert crosscam_kernels.__all__ == ops.__all__
    for name in ops.__all__:
        assert getattr(crosscam_kernels, name) is getattr(ops, name)
        assert name in dir(crosscam_kernels)
    with pytest.raises(AttributeError, match="no attribute 'no_such_operator'"):
        _ = crosscam_kernels.no_such_operator
