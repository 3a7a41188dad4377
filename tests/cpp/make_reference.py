"""Write reference.inc: float64 arguments with results correct to 50 digits.

``python tests/cpp/make_reference.py > tests/cpp/reference.inc`` (needs mpmath). A row is
``{x, n, rounded, remainder}``: the exact result is ``rounded + remainder ulp(rounded)``, where
``rounded`` is the nearest float64. What the second argument is, if any, the table's comment says.
The samples are dense where the argument is ordinary, and cover every binade and every edge.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable

import mpmath as mp

mp.mp.dps = 60
LN2 = mp.log(2)
TINY = 5e-324
SMALLEST = 2.0**-1022
LARGEST = math.nextafter(math.inf, 0)

Pair = tuple[float, float]


def row(x: float, n: float, exact: mp.mpf) -> str:
    """One row of a table."""
    if exact == 0:
        return f"{{{x.hex()}, {n:.0f}, 0x0p+0, 0}},"
    unit_exponent = max(int(mp.floor(mp.log(abs(exact), 2))), -1022) - 52
    rounded = math.ldexp(int(mp.nint(mp.ldexp(exact, -unit_exponent))), unit_exponent)
    remainder = (exact - mp.mpf(rounded)) / mp.mpf(math.ulp(rounded))
    return f"{{{short(x)}, {n:.0f}, {short(rounded)}, {float(remainder):.5f}}},"


def short(x: float) -> str:
    """Hexadecimal literal without trailing zeros."""
    mantissa, exponent = x.hex().split("p")
    return (mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa) + "p" + exponent


def near(x: float, steps: int = 2) -> Iterable[float]:
    """`x` and its neighbours."""
    yield x
    below = above = x
    for _ in range(steps):
        below, above = math.nextafter(below, -math.inf), math.nextafter(above, math.inf)
        yield from (below, above)


def exp_arguments(rng: random.Random) -> Iterable[Pair]:
    yield from ((rng.uniform(-745.2, 709.78), 0) for _ in range(500))
    yield from ((rng.uniform(-1, 1), 0) for _ in range(200))
    yield from ((sign * math.ldexp(1 + rng.random(), -k), 0) for k in range(60) for sign in (-1, 1))
    for n in [*range(-1075, 1024, 50), -1023, -1022, -1021, 1023, 1024]:  # ties of round(x log2 e)
        yield from ((x, 0) for x in near(float((n + mp.mpf(1) / 2) * LN2), 1) if x < 709.78)
    for edge in (0.0, SMALLEST, -SMALLEST, TINY, 709.782712893383, -708.396, -744.44, -745.13):
        yield edge, 0


def scaled_arguments(rng: random.Random) -> Iterable[Pair]:
    scales = [0, 1, -1, 1000, -1000, 2**20, -(2**20), 387270000, -387270000]
    scales += [sign * rng.randrange(2**k) for k in range(10, 28) for sign in (-1, 1)]
    for n in scales:
        top = float(n * LN2)
        yield from ((top - rng.uniform(0, 40), n) for _ in range(6))
        yield from ((top - rng.uniform(0, 700), n) for _ in range(4))


def log_arguments(rng: random.Random) -> Iterable[Pair]:
    yield from ((math.ldexp(1 + rng.random(), rng.randrange(-1022, 1023)), 0) for _ in range(400))
    yield from ((rng.uniform(0.25, 4), 0) for _ in range(400))
    yield from (
        (1 + sign * math.ldexp(1 + rng.random(), -k), 0) for k in range(2, 54) for sign in (-1, 1)
    )
    yield from ((math.ldexp(rng.random(), -k), 0) for k in range(1022, 1070, 4))
    for edge in (0.5**0.5, 2**0.5, 1.0, 2.0, SMALLEST, LARGEST, 2 * TINY):
        yield from ((x, 0) for x in near(edge) if x > 0 and x < math.inf)


def log1p_arguments(rng: random.Random) -> Iterable[Pair]:
    yield from ((math.ldexp(1 + rng.random(), rng.randrange(-60, 1023)), 0) for _ in range(300))
    yield from ((rng.uniform(-1, 4), 0) for _ in range(500))
    yield from (
        (sign * math.ldexp(1 + rng.random(), -k), 0) for k in range(2, 60) for sign in (-1, 1)
    )
    yield from ((-1 + math.ldexp(1 + rng.random(), -k), 0) for k in range(1, 53))
    for edge in (0.5**0.5 - 1, 2**0.5 - 1, -1.0, 1.0, SMALLEST, -SMALLEST, LARGEST, -TINY, 2.0**53):
        yield from ((x, 0) for x in near(edge) if x > -1 and x != 0 and x < math.inf)


def log_scaled_arguments(rng: random.Random) -> Iterable[Pair]:
    for k in range(30):
        for sign in (-1, 1):
            n = sign * (rng.randrange(2**k) if k else 0)
            yield from ((rng.uniform(0.5, 2), n) for _ in range(4))
            yield math.ldexp(1 + rng.random(), rng.randrange(-1000, 1000)), n


def table(
    name: str, comment: str, exact: Callable[[mp.mpf, int], mp.mpf], pairs: Iterable[Pair]
) -> None:
    print(f"\n// {comment}")
    print(f"inline constexpr Row {name}[] = {{")
    for x, n in pairs:
        print("    " + row(x, n, exact(mp.mpf(x), int(n))))
    print("};")


def main() -> None:
    rng = random.Random(20)
    print("// Made by make_reference.py: exact = rounded + remainder ulp(rounded).")
    table("kExpRows", "e^x", lambda x, _: mp.exp(x), exp_arguments(rng))
    table("kScaledRows", "e^x 2^-n", lambda x, n: mp.exp(x - n * LN2), scaled_arguments(rng))
    table("kReduceRows", "x - n ln 2", lambda x, n: x - n * LN2, reduce_arguments(rng))
    table("kLogRows", "log x", lambda x, _: mp.log(x), log_arguments(rng))
    table("kLog1pRows", "log(1 + x)", lambda x, _: mp.log1p(x), log1p_arguments(rng))
    table(
        "kLogScaledRows", "log(x 2^n)", lambda x, n: mp.log(x) + n * LN2, log_scaled_arguments(rng)
    )


def reduce_arguments(rng: random.Random) -> Iterable[Pair]:
    for k in range(30):
        for sign in (-1, 1):
            for _ in range(3):
                n = sign * rng.randrange(2**k)
                yield float(n * LN2) + rng.uniform(-0.34, 0.34), n


if __name__ == "__main__":
    main()
