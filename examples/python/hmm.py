"""The occasionally dishonest casino: a hidden Markov model, forward, by log-space products.

    python examples/python/hmm.py

A thousand gamblers each watch a die for a thousand throws. It is fair or loaded and sometimes
exchanged. How probable is what each of them saw, and which die was most probably there at the end?
"""

import numpy as np

import logsum

ROLLS, GAMBLERS = 1000, 1000
FAIR, LOADED = 0, 1
start = np.log([0.5, 0.5])
move = np.log([[0.95, 0.05], [0.10, 0.90]])  # from row to column
emit = np.log([[1 / 6] * 6, [0.1] * 5 + [0.5]])  # the loaded die likes its sixth face


def play(rng: np.random.Generator) -> np.ndarray:
    """Throw the dice: (GAMBLERS, ROLLS) of 0 to 5."""
    die = rng.choice(2, GAMBLERS, p=np.exp(start))
    seen = np.empty((GAMBLERS, ROLLS), int)
    for t in range(ROLLS):
        chance = rng.random(GAMBLERS)
        seen[:, t] = (np.exp(emit)[die].cumsum(axis=1)[:, :5] < chance[:, None]).sum(axis=1)
        exchanged = rng.random(GAMBLERS) < np.exp(move)[die, 1 - die]
        die = np.where(exchanged, 1 - die, die)
    return seen


def forward(seen: np.ndarray, semiring: str = "log") -> np.ndarray:
    """Log-probabilities of what was seen and of each last die; "max": of the best path there."""
    alpha = start + emit[:, seen[:, 0]].T
    for t in range(1, ROLLS):
        alpha = logsum.logmatmulexp(alpha, move, semiring=semiring) + emit[:, seen[:, t]].T
    return alpha


def main() -> None:
    """Print the answers, and what the linear domain makes of them."""
    seen = play(np.random.default_rng(1))
    alpha = forward(seen)
    likelihood = logsum.logsumexp(alpha, axis=1)
    loaded = logsum.softmax(alpha, axis=1)[:, LOADED]
    best = forward(seen, "max").max(axis=1)

    linear = np.exp(start + emit[:, seen[:, 0]].T)
    for t in range(1, ROLLS):
        linear = linear @ np.exp(move) * np.exp(emit[:, seen[:, t]].T)

    print(f"log-likelihood a throw: {likelihood.mean() / ROLLS:.4f}")
    print(f"the best path alone:    {best.mean() / ROLLS:.4f}")
    print(f"last die loaded:        {loaded.mean():.3f} of the gamblers")
    vanished = (linear.sum(axis=1) == 0).mean()
    print(f"linear domain:          {vanished:.0%} of the likelihoods are 0")


if __name__ == "__main__":
    main()
