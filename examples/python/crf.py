"""A conditional random field that cannot say what makes no sense.

    python examples/python/crf.py

Words of a text are outside (O), at the beginning (B) or inside (I) of a name; an I never follows an
O. Only that is known of names, and what each word sounds like, which is noisy. A model that tags
word by word is compared with one that is trained through `logZ` over the arcs that make sense, and
read by `viterbi`. It takes some seconds, and PyTorch.
"""

import numpy as np
import torch

import logsum

WORDS, TEXTS, FEATURES = 40, 64, 6
O, B, I = 0, 1, 2  # noqa: E741 (the tags' names)
ARCS = [(O, O), (O, B), (B, O), (B, B), (B, I), (I, O), (I, B), (I, I)]
GRAPH = logsum.Graph.from_arcs(*zip(*ARCS, strict=True), num_states=3)
SOURCE, TARGET = (torch.tensor(states) for states in zip(*ARCS, strict=True))


def write(rng: np.random.Generator, sound: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Make texts: features (WORDS, TEXTS, FEATURES) and tags (WORDS, TEXTS)."""
    follow = np.array([[0.8, 0.2, 0], [0.3, 0.05, 0.65], [0.5, 0.05, 0.45]])
    tags = np.zeros((WORDS + 1, TEXTS), int)
    for t in range(WORDS):
        chance = rng.random(TEXTS)[:, None]
        tags[t + 1] = (follow[tags[t]].cumsum(axis=1)[:, :2] < chance).sum(axis=1)
    features = sound[tags[1:]] + 1.5 * rng.standard_normal((WORDS, TEXTS, FEATURES))
    return torch.tensor(features, dtype=torch.float32), torch.tensor(tags[1:])


def arc_weights(scores: torch.Tensor, transitions: torch.Tensor) -> torch.Tensor:
    """Return Ms: of each arc the score of the tag it leads to, and its own."""
    return scores[:, :, TARGET] + transitions


def start_and_end() -> tuple[torch.Tensor, torch.Tensor]:
    """Before a text is outside of names; it may end anywhere."""
    start = torch.full((TEXTS, 3), -torch.inf)
    start[:, O] = 0
    return start, torch.zeros(TEXTS, 3)


def crf_loss(scores: torch.Tensor, transitions: torch.Tensor, tags: torch.Tensor) -> torch.Tensor:
    """Minus the log probability of the tags: the weight of their path, and logZ of all paths."""
    weights = arc_weights(scores, transitions)
    before = torch.cat([torch.full((1, TEXTS), O), tags[:-1]])
    taken = (before[:, :, None] == SOURCE) & (tags[:, :, None] == TARGET)
    path = (weights * taken).sum(dim=(0, 2))
    return (logsum.logZ(weights, GRAPH, *start_and_end()) - path).mean() / WORDS


def nonsense(tags: torch.Tensor) -> float:
    """Return the part of texts in which an I follows an O, or begins."""
    before = torch.cat([torch.full((1, TEXTS), O), tags[:-1]])
    return ((before == O) & (tags == I)).any(dim=0).float().mean().item()


def main() -> None:
    """Train both models and read new texts with them."""
    rng = np.random.default_rng(3)
    torch.manual_seed(3)
    sound = rng.standard_normal((3, FEATURES))
    single, field = torch.nn.Linear(FEATURES, 3), torch.nn.Linear(FEATURES, 3)
    transitions = torch.zeros(len(ARCS), requires_grad=True)
    optimizer = torch.optim.Adam([*single.parameters(), *field.parameters(), transitions], lr=0.05)
    for _ in range(150):
        features, tags = write(rng, sound)
        alone = torch.nn.functional.cross_entropy(single(features).flatten(0, 1), tags.flatten())
        loss = crf_loss(field(features), transitions, tags)
        optimizer.zero_grad()
        (alone + loss).backward()
        optimizer.step()

    features, tags = write(rng, sound)
    with torch.no_grad():
        weights = arc_weights(field(features), transitions)
        _, states, _ = logsum.viterbi(weights, GRAPH, *start_and_end())
        best = states[1:]
        alone_best = single(features).argmax(dim=2)
    for name, read in (("word by word", alone_best), ("random field", best)):
        right = (read == tags).float().mean().item()
        print(f"{name}: {right:.1%} of the tags right, {nonsense(read):.0%} of the texts nonsense")
    print(f"learnt: an I after an I rather than an O: {transitions[7] - transitions[5]:+.2f}")


if __name__ == "__main__":
    main()
