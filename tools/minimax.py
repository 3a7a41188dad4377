"""Minimax coefficients of the polynomials in src/core, by the Remez exchange.

Prints what src/core/exp-inl.h and src/core/log-inl.h contain, so that every number there can be
derived again: ``python tools/minimax.py`` needs mpmath only. For each function the polynomial
``q`` minimises the largest relative error of the whole approximation, the leading terms (which
are exact in binary) staying fixed:

* ``e^r = 1 + r + r^2 q(r)``,
* ``log(1 + f) = f - f^2/2 + f^3 q(f)``  (float32),
* ``log(1 + f) = 2 s + s^3 q(s^2)``, ``s = f / (2 + f)``  (float64).

The weighted problem ``max |g(x) - w(x) p(x)|`` is solved in 60 digits on the extrema of the
current error, then the coefficients are rounded; the error printed is that of the rounded ones.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import mpmath as mp

mp.mp.dps = 60

Function = Callable[[mp.mpf], mp.mpf]


def round_to(value: mp.mpf, bits: int) -> mp.mpf:
    """Round to `bits` significant bits, to nearest."""
    if value == 0:
        return value
    mantissa, exponent = mp.frexp(value)
    return mp.ldexp(mp.nint(mp.ldexp(mantissa, bits)), int(exponent) - bits)


def remez(
    target: Function, weight: Function, low: mp.mpf, high: mp.mpf, powers: list[int]
) -> tuple[list[mp.mpf], mp.mpf]:
    """Coefficients c minimising max |target - weight * sum(c x^powers)| over [low, high]."""
    count = len(powers)

    def side(x: mp.mpf) -> mp.mpf:  # the basis vanishes at 0 and may change sign there
        return mp.sign(weight(x) * x ** powers[0])

    middle, half = (low + high) / 2, (high - low) / 2
    # Shifted a little: a node at a zero of the weight would make the system singular.
    nodes = [
        middle + half * (mp.mpf("0.005") - mp.mpf("0.99") * mp.cos(mp.pi * i / count))
        for i in range(count + 1)
    ]
    coefficients: list[mp.mpf] = []
    worst = mp.inf
    for _ in range(30):
        matrix = mp.matrix(count + 1, count + 1)
        right = mp.matrix(count + 1, 1)
        for row, x in enumerate(nodes):
            for column, power in enumerate(powers):
                matrix[row, column] = weight(x) * x**power
            matrix[row, count] = (-1) ** row * side(x)
            right[row] = target(x)
        solution = mp.lu_solve(matrix, right)
        coefficients = [solution[i] for i in range(count)]

        def error(x: mp.mpf, c: list[mp.mpf] = coefficients) -> mp.mpf:
            return target(x) - weight(x) * sum(a * x**p for a, p in zip(c, powers, strict=True))

        grid = [middle - half * mp.cos(mp.pi * i / (count * 40)) for i in range(count * 40 + 1)]
        values = [error(x) * side(x) for x in grid]
        groups: list[list[int]] = []
        for i, value in enumerate(values):
            if abs(value) < mp.mpf("1e-45"):  # a zero, but for the last digits
                continue
            if groups and mp.sign(values[groups[-1][0]]) == mp.sign(value):
                groups[-1].append(i)
            else:
                groups.append([i])
        if len(groups) != count + 1:
            raise ArithmeticError(f"expected {count + 1} alternations, found {len(groups)}")
        peaks = [max(group, key=lambda i: abs(values[i])) for group in groups]
        nodes = [grid[i] for i in peaks]
        levels = [abs(values[i]) for i in peaks]
        worst = max(levels)
        if worst - min(levels) < mp.mpf("1e-3") * worst:
            break
    return coefficients, worst


def rounded(
    target: Function, weight: Function, low: mp.mpf, high: mp.mpf, degree: int, bits: int
) -> tuple[list[mp.mpf], mp.mpf]:
    """Coefficients of degree 0..degree, each a `bits`-bit number, and the error they reach."""
    solved, _ = remez(target, weight, low, high, list(range(degree + 1)))
    fixed = [round_to(c, bits) for c in solved]
    grid = [low + (high - low) * i / 2000 for i in range(2001)]
    worst = max(
        abs(target(x) - weight(x) * sum(c * x**i for i, c in enumerate(fixed)))
        for x in grid
        if x != 0
    )
    return fixed, worst


def show(name: str, result: tuple[list[mp.mpf], mp.mpf], bits: int) -> None:
    """Print the coefficients as C++ literals, lowest degree first."""
    coefficients, worst = result
    print(f"{name}: relative error 2^{mp.nstr(mp.log(worst, 2), 4)}")
    for c in coefficients:
        text = float(c).hex()
        if bits == 24:
            assert struct.unpack("f", struct.pack("f", float(c)))[0] == float(c)
            text += "f"
        print(f"  {text},")


def exp_quotient(half_width: str, degree: int, bits: int) -> tuple[list[mp.mpf], mp.mpf]:
    """q of e^r = 1 + r + r^2 q(r) on |r| <= half_width."""
    a = mp.mpf(half_width)
    return rounded(
        lambda r: (mp.exp(r) - 1 - r) / mp.exp(r), lambda r: r * r / mp.exp(r), -a, a, degree, bits
    )


if __name__ == "__main__":
    show("exp float32", exp_quotient("0.3467", 4, 24), 24)
    show("exp float32 wide", exp_quotient("0.40", 4, 24), 24)
    show("exp float32 wide 47", exp_quotient("0.47", 4, 24), 24)
    show("exp float64", exp_quotient("0.3467", 9, 53), 53)
    show("exp float64 wide", exp_quotient("0.36", 9, 53), 53)
