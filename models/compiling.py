"""The compiler's options in one place, and a signature that the type checker can follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile when first called. Other threads run meanwhile; floating point keeps to IEEE 754, division by 0 too."""
    compiler: Any = njit(nogil=True, error_model="numpy")
    dispatcher: Function = compiler(function)
    return dispatcher


def compiled_and_cached(function: Function) -> Function:
    """Likewise, and keep the machine code on disk.

    The cache notices changes of the function's own file only: whatever the function takes from other files must be in
    its signature. See `models.features` for how.
    """
    compiler: Any = njit(cache=True, nogil=True, error_model="numpy")
    dispatcher: Function = compiler(function)
    return dispatcher
