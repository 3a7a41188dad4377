"""PyTorch's own transformer layers, trained with this attention.

    python examples/python/transformer.py

For every letter of a random word a small encoder has to tell whether the word also has the letter
that follows it in the alphabet. Words have different lengths, so keys are masked. Inside the
context every layer of `torch.nn` attends by logsum; no layer is changed, and outside of it the same
weights run as ever.
"""

import torch
import torch.nn.functional as functional

import logsum.torch

LETTERS, LONGEST, WIDTH, BATCH, STEPS = 26, 20, 32, 64, 150
PADDING = LETTERS + 1  # follows no letter


class Neighbours(torch.nn.Module):
    """An encoder of one layer, and for each letter a score of its neighbour's being there."""

    def __init__(self) -> None:
        """Draw the weights."""
        super().__init__()
        self.embed = torch.nn.Embedding(PADDING + 1, WIDTH)
        # Dropout of attention weights has no lse; elsewhere it may be what it wants.
        layer = torch.nn.TransformerEncoderLayer(
            WIDTH, 4, 2 * WIDTH, dropout=0.0, batch_first=True, norm_first=True
        )
        self.encoder = torch.nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.score = torch.nn.Linear(WIDTH, 1)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Return log odds (N, LONGEST)."""
        seen = self.encoder(self.embed(words), src_key_padding_mask=words == PADDING)
        return self.score(seen)[..., 0]


def draw(generator: torch.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return words (count, LONGEST), padded, and for each letter whether the next one is there."""
    words = torch.randint(LETTERS, (count, LONGEST), generator=generator)
    lengths = torch.randint(2, LONGEST + 1, (count, 1), generator=generator)
    words[torch.arange(LONGEST) >= lengths] = PADDING
    return words, (words[:, :, None] + 1 == words[:, None, :]).any(2)


def main() -> None:
    """Train, and judge the same weights by this attention and by PyTorch's."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    model = Neighbours()
    optimiser = torch.optim.AdamW(model.parameters(), lr=4e-3)
    with logsum.torch.AttentionMode():
        for step in range(STEPS):
            words, there = draw(generator, BATCH)
            real = words != PADDING
            odds = model(words)[real]
            loss = functional.binary_cross_entropy_with_logits(odds, there[real].float())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if step in (0, STEPS - 1):
                print(f"loss, step {step + 1:3}: {loss.item():.3f}")

    words, there = draw(generator, 1000)
    real = words != PADDING
    model.eval()
    with torch.no_grad():
        theirs = model(words)
        with logsum.torch.AttentionMode():
            ours = model(words)
    right = ((ours > 0) == there)[real].float().mean().item()
    print(f"answered rightly: {right:.1%}, of which yes: {there[real].float().mean():.0%}")
    print(f"PyTorch's attention, same weights: {(ours - theirs)[real].abs().max():.1e} apart")


if __name__ == "__main__":
    main()
