"""The operands of a matrix product: what they must share, and the shape of the result."""

from __future__ import annotations

from collections.abc import Sequence

from logsum._arguments import value_error


def product_shape(function: str, a: Sequence[int], b: Sequence[int]) -> tuple[int, ...]:
    """The shape of the product of operands A and B of these shapes."""
    for argument, shape, matrix in (("A", a, "(1, -1)"), ("B", b, "(-1, 1)")):
        if len(shape) < 2:
            expected = f"at least 2 axes (as {argument}.reshape{matrix} has)"
            raise value_error(function, argument, expected, len(shape))
    if a[-1] != b[-2]:
        raise value_error(
            function, "A and B", "one inner size, A's last and B's last but one", _both(a, b)
        )
    return (*_batch_shape(function, a, b), a[-2], b[-1])


def _batch_shape(function: str, a: Sequence[int], b: Sequence[int]) -> list[int]:
    if len(a) == len(b) == 2:
        return []
    extra = len(a) - len(b)
    pairs = zip((1,) * -extra + tuple(a[:-2]), (1,) * extra + tuple(b[:-2]), strict=True)
    batch = []
    for size, other in pairs:
        if size != other and size != 1 and other != 1:
            raise value_error(
                function, "A and B", "batch axes that broadcast together", _both(a, b)
            )
        batch.append(other if size == 1 else size)
    return batch


def _both(a: Sequence[int], b: Sequence[int]) -> str:
    return f"shapes {tuple(a)} and {tuple(b)}"
