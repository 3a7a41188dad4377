"""The constants of src/core/exp_constants.hpp and trigonometric_constants.hpp.

They are minimax polynomials, and the parts of ln 2 and pi / 2.

``python tools/minimax.py`` (needs mpmath) prints every derived number there, so that none has to
be believed. A polynomial ``q`` minimises the largest relative error of the whole approximation,
by the Remez exchange, the leading terms (which are exact in binary) staying fixed:

* ``e^r = 1 + r + r^2/2 + r^3 q(r)``,
* ``log((1 + s) / (1 - s)) = 2 s + s^3 q(s^2)``,
* ``sin r = r + r^3 q(r^2)``, ``cos r = 1 - r^2/2 + r^4 q(r^2)``, ``atan t = t + t^3 q(t^2)``.

The problem ``max |g(x) - w(x) q(x)|`` is solved in 60 digits on the extrema of the current error,
then the coefficients are rounded; the error printed is that of the rounded ones.
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
    """q of e^r = 1 + r + r^2/2 + r^3 q(r) on |r| <= half_width."""
    a = mp.mpf(half_width)
    return rounded(
        lambda r: (mp.exp(r) - 1 - r - r * r / 2) / mp.exp(r),
        lambda r: r**3 / mp.exp(r),
        -a,
        a,
        degree,
        bits,
    )


def exp_table_quotient(half_width: str, degree: int, bits: int) -> tuple[list[mp.mpf], mp.mpf]:
    """q of e^r = 1 + r + r^2 q(r) on |r| <= half_width."""
    a = mp.mpf(half_width)
    return rounded(
        lambda r: (mp.exp(r) - 1 - r) / mp.exp(r),
        lambda r: r**2 / mp.exp(r),
        -a,
        a,
        degree,
        bits,
    )


def log_quotient(degree: int, bits: int) -> tuple[list[mp.mpf], mp.mpf]:
    """q of log((1 + s) / (1 - s)) = 2 s + s^3 q(z), z = s^2, for the log of [1, sqrt(2)]."""
    top = (mp.sqrt(2) - 1) / (mp.sqrt(2) + 1)

    def target(z: mp.mpf) -> mp.mpf:
        s = mp.sqrt(z)
        return 1 - s / mp.atanh(s) if z > mp.mpf("1e-50") else mp.mpf(0)

    def weight(z: mp.mpf) -> mp.mpf:
        s = mp.sqrt(z)
        return s**3 / (2 * mp.atanh(s)) if z > mp.mpf("1e-50") else mp.mpf(0)

    return rounded(target, weight, mp.mpf(0), top * top, degree, bits)


def odd_quotient(
    function: Function, top: mp.mpf, degree: int, bits: int
) -> tuple[list[mp.mpf], mp.mpf]:
    """q of function(x) = x + x^3 q(x^2) on |x| <= top, for sin and atan."""

    def target(z: mp.mpf) -> mp.mpf:
        return function(mp.sqrt(z)) / mp.sqrt(z) - 1

    return rounded(target, lambda z: z, mp.mpf("1e-9"), top * top, degree, bits)


def cos_quotient(top: mp.mpf, degree: int, bits: int) -> tuple[list[mp.mpf], mp.mpf]:
    """q of cos r = 1 - r^2/2 + r^4 q(r^2) on |r| <= top."""

    def target(z: mp.mpf) -> mp.mpf:
        return mp.cos(mp.sqrt(z)) - 1 + z / 2

    return rounded(target, lambda z: z * z, mp.mpf("1e-9"), top * top, degree, bits)


def show_parts(name: str, number: mp.mpf, *bits: int) -> None:
    """Print a number as a sum of numbers of so many bits."""
    rest = number
    parts = []
    for width in bits:
        part = round_to(rest, width)
        parts.append(float(part).hex())
        rest -= part
    print(f"{name}: {', '.join(parts)}")


if __name__ == "__main__":
    show("exp float32", exp_quotient("0.36", 3, 24), 24)
    show("exp float64", exp_quotient("0.3467", 8, 53), 53)
    show("exp float64 by a table", exp_table_quotient("0.02167", 5, 53), 53)
    print("2^(k/16):", ", ".join(float(mp.mpf(2) ** (mp.mpf(k) / 16)).hex() for k in range(16)))
    show("exp float64 by a table, short", exp_table_quotient("0.02167", 3, 53), 53)
    show("log float32", log_quotient(2, 24), 24)
    show("log float64", log_quotient(6, 53), 53)
    show_parts("ln 2 float32", mp.log(2), 24, 24)
    show_parts("ln 2 float32, short head", mp.log(2), 15, 24)
    show_parts("ln 2 float64", mp.log(2), 53, 53)
    show_parts("ln 2 float64, short head", mp.log(2), 42, 53)
    show_parts("ln 2 float64, three parts", mp.log(2), 23, 23, 53)
    quarter = mp.pi / 4 * mp.mpf("1.0001")
    eighth = mp.mpf("0.41422")  # tan(pi/8)
    for bits, sine, arc in ((24, 2, 4), (53, 5, 10)):
        show(f"sin, {bits} bits", odd_quotient(mp.sin, quarter, sine, bits), bits)
        show(f"cos, {bits} bits", cos_quotient(quarter, sine, bits), bits)
        show(f"atan, {bits} bits", odd_quotient(mp.atan, eighth, arc, bits), bits)
    show_parts("pi / 2 float32, in double", mp.pi / 2, 25, 25, 53)
    show_parts("pi / 2 float64", mp.pi / 2, 33, 33, 33, 53)
    show_parts("pi / 2 float32, two parts", mp.pi / 2, 24, 24)
    show_parts("pi / 2 float64, two parts", mp.pi / 2, 53, 53)
