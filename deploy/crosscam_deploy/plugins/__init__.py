"""Plugins: crosscam's own GPU kernels inside TensorRT engines.

The kernels are compiled ahead of time by `python -m crosscam_kernels.aot`, which needs Triton;
nothing here does. `PluginKernels` checks them, `register_plugins` hands them to TensorRT, and
`two_nodes` writes a graph's search as TensorRT launches it. `one_node` writes it for the plugins in
C++ (``deploy/csrc``), which programs without Python load.
"""

from crosscam_deploy.plugins.kernels import PluginKernel, PluginKernels, newest_ptx
from crosscam_deploy.plugins.lowering import one_node, two_nodes
from crosscam_deploy.plugins.tensorrt_ops import register_plugins

__all__ = [
    "PluginKernel",
    "PluginKernels",
    "newest_ptx",
    "one_node",
    "register_plugins",
    "two_nodes",
]
