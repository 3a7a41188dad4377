"""Which point became which: two clouds matched by Sinkhorn's iteration, without a cost matrix.

    python examples/python/sinkhorn.py

A cloud of points is stretched along two directions, moved and shuffled. No way from a cloud to its
image is cheaper than such a stretch (Brenier 1991), so optimal transport must find every point's
own image. The costs of all pairs are a formula, never stored; ε is halved until the plan is sharp.
"""

import numpy as np

from logsum import Genred

POINTS, SWEEPS, SHARPEST = 2000, 20, 2e-3
STRETCH = np.array([[1.5, 0.4], [0.4, 0.7]])  # symmetric, positive definite
MOVE = np.array([1.0, -0.5])

# Of a pair: what its transport is worth, given the price of one side, in units of ε.
WORTH_FROM_Y = "(g - SqDist(x, y)) / e"
VARIABLES = ["x = Vi(2)", "y = Vj(2)", "g = Vj(1)", "e = Pm(1)"]
price_x = Genred(WORTH_FROM_Y, VARIABLES, "LogSumExp", axis=1)
price_y = Genred(
    "(f - SqDist(x, y)) / e", ["x = Vi(2)", "y = Vj(2)", "f = Vi(1)", "e = Pm(1)"], "LogSumExp"
)
# Where a point goes on average: its share of every y.
goes_to = Genred(WORTH_FROM_Y, VARIABLES, "SumSoftMaxWeight", axis=1, formula2="y")


def prices(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the potentials f and g of both clouds, and the last ε."""
    g = np.zeros((len(y), 1), x.dtype)
    epsilon = np.ones(1, x.dtype)
    while True:
        for _ in range(SWEEPS):
            f = -epsilon * (price_x(x, y, g, epsilon) - np.log(len(y), dtype=x.dtype))
            g = -epsilon * (price_y(x, y, f, epsilon) - np.log(len(x), dtype=x.dtype))
        if epsilon <= SHARPEST:
            return f, g, epsilon
        epsilon = epsilon / 2


def main() -> None:
    """Match a cloud with its image, and look whether everybody came home."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((POINTS, 2))
    image = x @ STRETCH + MOVE
    y = image[rng.permutation(POINTS)]
    f, g, epsilon = prices(x, y)
    found = goes_to(x, y, g, epsilon)
    apart = np.linalg.norm(found - image, axis=1)

    # f + g, summed over both clouds, is the cost of the plan less its entropy's part.
    print(f"cost by the true map:     {((image - x) ** 2).sum(axis=1).mean():.4f}")
    print(f"cost by the potentials:   {f.mean() + g.mean():.4f}")
    print(f"median way from home:     {np.median(apart):.4f}")
    print(f"a cost matrix would take: {8e-6 * POINTS**2:.0f} MB")


if __name__ == "__main__":
    main()
