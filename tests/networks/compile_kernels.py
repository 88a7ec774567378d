"""Compiles every Triton kernel down to machine code for a GPU that need not be here; test_fused.py runs it.

The interpreter takes more of Python than the compiler does.
"""

from typing import Any

from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile

from raytalk.networks.fused import map_kernels, norm_kernels, weight_kernels

INTEGERS = {"pixels", "width", "C", "count", "rows", "outputs", "inputs", "wide"}
FLOATS = {"bias", "sums", "scale", "shift", "statistics", "of_affine", "weight", "sigma", "left", "right", "product"}
BLOCK = {"PIXELS": 64, "CHANNELS": 64}
HALF = {"PIXELS": 16, "CHANNELS": 64}
TILE = {"SIZE": 3, "ROWS": 32, "INPUTS": 128}
KERNELS: list[tuple[Any, str, dict[str, Any]]] = [
    *((map_kernels, "relu_and_half", {"RELU": relu, **HALF}) for relu in (True, False)),
    *((map_kernels, "relu_and_half_backward", {"RELU": relu, **HALF}) for relu in (True, False)),
    (map_kernels, "max_half", HALF),
    (map_kernels, "max_half_backward", HALF),
    (map_kernels, "sum_of_four", HALF),
    *((map_kernels, "mask_and_sum", {"MASK": mask, **BLOCK}) for mask in (True, False)),
    *((map_kernels, "join", {"UP": up, "BIAS": bias, **BLOCK}) for up in (True, False) for bias in (True, False)),
    (map_kernels, "difference", {"VALUES": 4096}),
    (map_kernels, "difference_backward", {"VALUES": 4096}),
    (norm_kernels, "moments", {"PARTS": 16, **BLOCK}),
    (norm_kernels, "norm_relu", {"PARTS": 16, "TILES": 32, **BLOCK}),
    (norm_kernels, "norm_relu_sums", {"PARTS": 16, **BLOCK}),
    (norm_kernels, "norm_relu_backward", {"PARTS": 16, "TILES": 32, **BLOCK}),
    *(
        (weight_kernels, name, {"MODE": mode, **TILE})
        for name in ("make_kernel", "product", "weight_gradient")
        for mode in (0, 1, 2)
    ),
]


def kind(name: str, argument: str, values: str) -> str:
    """The type of a kernel's argument; maps and kernels hold `values`."""
    if argument in INTEGERS or "stride" in argument:
        return "i32"
    exact = argument in FLOATS or (argument, name) in {("out", "weight_gradient"), ("gradient", "difference_backward")}
    return "*fp32" if exact else f"*{values}"


def main() -> None:
    """For bfloat16 and float32."""
    for module, name, constants in KERNELS:
        kernel = getattr(module, name)
        for values in ("bf16", "fp32"):
            signature = {
                argument: "constexpr" if argument in constants else kind(name, argument, values)
                for argument in kernel.arg_names
            }
            places = {(kernel.arg_names.index(key),): value for key, value in constants.items()}
            compile(ASTSource(kernel, signature, places), target=GPUTarget("cuda", 90, 32))
    declared = {
        name
        for module in (map_kernels, norm_kernels, weight_kernels)
        for name, value in vars(module).items()
        if hasattr(value, "arg_names") and not name.startswith("_")
    }
    assert declared == {name for _, name, _ in KERNELS}, declared


if __name__ == "__main__":
    main()
