"""Machine vectors of eight doubles in compiled loops: rows of a spline's support.

A spline touches a few neighbouring nodes, too few for a compiler to vectorise a loop over them; these operations make
the vectors explicit. Deposit and gather take a fifth of the time of plain loops over the nodes. Eight lanes are a tuple
of eight floats in Python and a vector in machine code; the compiler breaks it up where the processor's vectors are
shorter. A spline of fewer nodes leaves the last lanes zero, so that a row reads eight nodes, and adds zero to some: all
of them must exist.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from kspde.typing import Array

__all__ = ["LANES", "ZERO", "add_scaled", "as_bits", "as_number", "dot", "load", "polynomials", "scatter_add"]

LANES = 8
Lanes = tuple[float, float, float, float, float, float, float, float]
ZERO: Lanes = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)

_DOUBLE, _INDEX = ir.DoubleType(), ir.IntType(32)
_VECTOR = ir.VectorType(_DOUBLE, LANES)
_UNDEFINED = ir.Constant(_VECTOR, ir.Undefined)
_TUPLE = types.UniTuple(types.float64, LANES)
_FAST = ("contract", "reassoc")


def _mask(lanes: list[int]) -> Any:
    return ir.Constant(ir.VectorType(_INDEX, LANES), lanes)


def _vector(builder: Any, lanes: Any) -> Any:
    out = _UNDEFINED
    for j in range(LANES):
        out = builder.insert_element(out, builder.extract_value(lanes, j), ir.Constant(_INDEX, j))
    return out


def _tuple(builder: Any, vector: Any) -> Any:
    out = ir.Constant(ir.ArrayType(_DOUBLE, LANES), ir.Undefined)
    for j in range(LANES):
        out = builder.insert_value(out, builder.extract_element(vector, ir.Constant(_INDEX, j)), j)
    return out


def _spread(builder: Any, number: Any) -> Any:
    first = builder.insert_element(_UNDEFINED, number, ir.Constant(_INDEX, 0))
    return builder.shuffle_vector(first, _UNDEFINED, _mask([0] * LANES))


def _multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    return builder.fadd(builder.fmul(a, b, flags=_FAST), c, flags=_FAST)


def _address(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
    return builder.bitcast(builder.gep(data, [arguments[1]]), _VECTOR.as_pointer())


def polynomials(kinds: Mapping[int, Array]) -> Callable[[float, tuple[int, ...]], Lanes]:
    """Return a compiled function of t and a tuple: Σ_k c[k, j] t^k for lanes j ≤ 8, c the kind of the tuple's length.

    The coefficients c have shape (degree + 1, lanes).
    """
    rows = {}
    for kind, coefficients in kinds.items():
        padded = np.zeros((len(coefficients), LANES))
        padded[:, : coefficients.shape[1]] = coefficients
        rows[kind] = [ir.Constant(_VECTOR, row.tolist()) for row in padded]

    def evaluate(typing: Any, t: Any, kind: Any) -> Any:
        chosen = rows[kind.count]

        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            at, out = _spread(builder, arguments[0]), chosen[-1]
            for row in chosen[-2::-1]:
                out = _multiply_add(builder, out, at, row)
            return _tuple(builder, out)

        return _TUPLE(types.float64, kind), emit

    compiled: Callable[[float, tuple[int, ...]], Lanes] = intrinsic(evaluate)
    return compiled


def _as_bits(typing: Any, x: Any) -> Any:
    """Return the bits of a number as an integer."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(types.float64), emit


def _as_number(typing: Any, x: Any) -> Any:
    """Return the number that has such bits."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], _DOUBLE)

    return types.float64(types.int64), emit


def _load(typing: Any, grid: Any, at: Any) -> Any:
    """Return grid[at:at + 8] of a one-dimensional array."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _tuple(builder, builder.load(_address(context, builder, signature, arguments), align=8))

    return _TUPLE(grid, types.int64), emit


def _scatter_add(typing: Any, grid: Any, at: Any, factor: Any, lanes: Any) -> Any:
    """Add factor × lanes to grid[at:at + 8] of a one-dimensional array."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _address(context, builder, signature, arguments)
        scale, vector = _spread(builder, arguments[2]), _vector(builder, arguments[3])
        builder.store(_multiply_add(builder, scale, vector, builder.load(address, align=8)), address, align=8)
        return context.get_dummy_value()

    return types.void(grid, types.int64, types.float64, _TUPLE), emit


def _add_scaled(typing: Any, total: Any, factor: Any, lanes: Any) -> Any:
    """Return total + factor × lanes."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        total, factor, lanes = arguments
        out = _multiply_add(builder, _spread(builder, factor), _vector(builder, lanes), _vector(builder, total))
        return _tuple(builder, out)

    return _TUPLE(_TUPLE, types.float64, _TUPLE), emit


def _dot(typing: Any, first: Any, second: Any) -> Any:
    """Return the sum of the products of the lanes."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = builder.fmul(*(_vector(builder, lanes) for lanes in arguments), flags=_FAST)
        half = LANES // 2
        while half:
            upper = builder.shuffle_vector(vector, _UNDEFINED, _mask([(j + half) % LANES for j in range(LANES)]))
            vector = builder.fadd(vector, upper, flags=_FAST)
            half //= 2
        return builder.extract_element(vector, ir.Constant(_INDEX, 0))

    return types.float64(_TUPLE, _TUPLE), emit


as_bits: Callable[[float], int] = intrinsic(_as_bits)
as_number: Callable[[int], float] = intrinsic(_as_number)
load: Callable[[Array, int], Lanes] = intrinsic(_load)
scatter_add: Callable[[Array, int, float, Lanes], None] = intrinsic(_scatter_add)
add_scaled: Callable[[Lanes, float, Lanes], Lanes] = intrinsic(_add_scaled)
dot: Callable[[Lanes, Lanes], float] = intrinsic(_dot)
