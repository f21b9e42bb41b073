"""The formats of an artifact, and the packages that each needs beyond those of training.

StableHLO needs none. ONNX is made by jax2onnx, which pins what training does not, and is run by onnxruntime.
"""

from collections.abc import Sequence
from importlib.util import find_spec

FORMATS = ("stablehlo", "onnx")
TO_MAKE_ONNX = ("jax2onnx", "onnx", "onnxruntime")
TO_RUN_ONNX = ("onnxruntime",)


def check_export_format(form: str) -> None:
    """
    Raises:
        ValueError: there is no such format, or a package that it needs is not installed.
    """
    if form not in FORMATS:
        raise ValueError(f"--format is {form!r}, but it must be one of {', '.join(FORMATS)}")
    if form == "onnx":
        check_installed(TO_MAKE_ONNX, f"--format={form}")


def check_installed(packages: Sequence[str], purpose: str) -> None:
    """
    Raises:
        ValueError: one of them is not installed.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise ValueError(
            f"{purpose} needs what is not installed here ({', '.join(missing)}): `make setup-onnx` installs "
            "requirements-onnx.txt into one of its own; use .venv-onnx/bin/python -m fcn_jax"
        )
