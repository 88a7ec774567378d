"""The generator on CPUs: 3x3 convolutions with a quarter of the products, everything between them on the way.

`fitting`: for which generators. `tiles`: the numba kernels. `layer`: one convolution. `network`: all of them.
"""
