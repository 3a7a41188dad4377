"""A mixture of Gaussians, fitted by the gradient of its likelihood.

    python examples/python/mixture.py

Every point's log-likelihood is a log-sum-exp over the components, a formula of the point and of a
component's place, width and weight. One call gives it for all points, and one backward pass the
gradients of all three; what belongs to a point and a component is never stored. It takes some
seconds, and PyTorch.
"""

import math

import torch

from logsum import Genred

POINTS, COMPONENTS, STEPS = 20_000, 8, 150

# s is the log of a component's inverse width, w that of its weight.
TERM = "w + 2 * s - Exp(2 * s) * SqDist(x, m) / 2"
VARIABLES = ["x = Vi(2)", "m = Vj(2)", "s = Vj(1)", "w = Vj(1)"]
log_sums = Genred(TERM, VARIABLES, "LogSumExp", axis=1)
likeliest = Genred(TERM, VARIABLES, "ArgMax", axis=1)
nearest = Genred("SqDist(x, m)", VARIABLES[:2], "Min_ArgMin", axis=1)


def draw() -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, ...]]:
    """Draw points, the component that each belongs to, and the truth."""
    places = 4 * torch.randn(COMPONENTS, 2)
    sharpness = torch.rand(COMPONENTS, 1)
    weights = torch.log_softmax(0.5 * torch.randn(COMPONENTS, 1), 0)
    labels = torch.multinomial(weights[:, 0].exp(), POINTS, replacement=True)
    points = places[labels] + torch.randn(POINTS, 2) / sharpness[labels].exp()
    return points, labels, (places, sharpness, weights)


def spread(points: torch.Tensor) -> torch.Tensor:
    """Choose points far from one another, each likelier the further it is from those chosen."""
    chosen = points[:1]
    while len(chosen) < COMPONENTS:
        squares, _ = nearest(points, chosen)
        chosen = torch.cat([chosen, points[torch.multinomial(squares[:, 0], 1)]])
    return chosen


def likelihood(points: torch.Tensor, model: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Return the mean log-likelihood of a point."""
    return log_sums(points, *model).mean() - math.log(2 * math.pi)


def main() -> None:
    """Fit, and compare with the truth."""
    torch.manual_seed(0)
    points, labels, truth = draw()
    places = spread(points).requires_grad_()
    sharpness = torch.zeros(COMPONENTS, 1, requires_grad=True)
    logits = torch.zeros(COMPONENTS, 1, requires_grad=True)
    optimizer = torch.optim.Adam([places, sharpness, logits], lr=0.05)
    heights = []
    for _ in range(STEPS):
        height = likelihood(points, (places, sharpness, logits.log_softmax(0)))
        optimizer.zero_grad()
        (-height).backward()
        optimizer.step()
        heights.append(height.item())

    with torch.no_grad():
        model = (places, sharpness, logits.log_softmax(0))
        _, twin = nearest(places, truth[0])  # the true component beside each fitted one
        found = twin[likeliest(points, *model)[:, 0], 0]
        best = likeliest(points, *truth)[:, 0]
    print(f"log-likelihood, first step: {heights[0]:.4f}")
    print(f"log-likelihood, last step:  {heights[-1]:.4f}")
    print(f"log-likelihood, the truth:  {likelihood(points, truth).item():.4f}")
    print(f"assigned as by the truth:   {(found == best).float().mean():.1%}")
    print(f"right, by the truth:        {(best == labels).float().mean():.1%}")


if __name__ == "__main__":
    main()
