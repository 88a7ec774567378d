"""Triton kernels for GPUs, and their place in autograd.

`map_kernels`, `norm_kernels` and `maps`: what lies between convolutions. `weight_kernels` and `weights`: spectral norm.
"""
