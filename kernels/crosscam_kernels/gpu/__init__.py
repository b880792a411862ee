"""Triton kernels and how they are launched; needs torch and Triton."""
