"""Who said what when: an aligner that is only ever told the order of the words.

    python examples/python/ctc.py

Every utterance is a few words, each a pattern of its own held for some frames, with silence between
and noise over all. A linear model of single frames is trained with `ctc_loss` to spell utterances,
and then asked by `ctc_align` where each word was said. It takes some seconds, and PyTorch.
"""

from dataclasses import dataclass

import numpy as np
import torch

import logsum

WORDS, FEATURES, BLANK = 9, 24, 0  # the labels are 1 to WORDS
MOST_WORDS = 5
STEPS = 150


@dataclass
class Utterances:
    """Frames (T, N, FEATURES), what was said (N, MOST_WORDS), and which word each frame was."""

    frames: torch.Tensor
    frame_counts: torch.Tensor
    words: torch.Tensor
    word_counts: torch.Tensor
    truth: np.ndarray  # (N, T), BLANK in silence


def speak(rng: np.random.Generator, patterns: np.ndarray, count: int) -> Utterances:
    """Make utterances of two to MOST_WORDS words."""
    word_counts = rng.integers(2, MOST_WORDS + 1, count)
    words = rng.integers(1, WORDS + 1, (count, MOST_WORDS))
    held = rng.integers(3, 9, (count, MOST_WORDS))
    silence = rng.integers(1, 6, (count, MOST_WORDS))
    ends = (held + silence).cumsum(axis=1)
    frame_counts = ends[np.arange(count), word_counts - 1]
    truth = np.full((count, frame_counts.max()), BLANK)
    for n in range(count):
        for k in range(word_counts[n]):
            truth[n, ends[n, k] - held[n, k] : ends[n, k]] = words[n, k]
    frames = patterns[truth] + 0.6 * rng.standard_normal((*truth.shape, FEATURES))
    return Utterances(
        torch.tensor(frames.transpose(1, 0, 2), dtype=torch.float32),
        *map(torch.tensor, (frame_counts, words, word_counts)),
        truth,
    )


def main() -> None:
    """Train, align and spell."""
    rng = np.random.default_rng(1)
    torch.manual_seed(1)
    patterns = np.vstack([np.zeros(FEATURES), rng.standard_normal((WORDS, FEATURES))])
    model = torch.nn.Linear(FEATURES, WORDS + 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    losses = []
    for _ in range(STEPS):
        heard = speak(rng, patterns, 32)
        loss = logsum.ctc_loss(
            model(heard.frames),
            heard.words,
            heard.frame_counts,
            heard.word_counts,
            blank=BLANK,
            from_logits=True,
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    heard = speak(rng, patterns, 200)
    with torch.no_grad():
        log_probs = logsum.log_softmax(model(heard.frames), -1)
    texts, _ = logsum.ctc_decode(log_probs, heard.frame_counts, blank=BLANK, beam=4)
    spelled = [
        text.tolist() == heard.words[n, : heard.word_counts[n]].tolist()
        for n, text in enumerate(texts)
    ]
    labels, _ = logsum.ctc_align(
        log_probs, heard.words, heard.frame_counts, heard.word_counts, blank=BLANK
    )
    said = labels.numpy() > BLANK  # -1 where the utterance has ended
    inside = labels.numpy()[said] == heard.truth[said]

    print(f"loss a word, first step:  {losses[0]:.3f}")
    print(f"loss a word, last step:   {losses[-1]:.3f}")
    print(f"spelled without error:    {np.mean(spelled):.1%} of new utterances")
    print(f"aligned within the word:  {np.mean(inside):.1%} of the labelled frames")
    print(f"an alignment:             {'  '.join(runs(labels[0]))}")
    print(f"the truth:                {'  '.join(runs(torch.tensor(heard.truth[0])))}")


def runs(labels: torch.Tensor) -> list[str]:
    """Return the words of an alignment, each with its first and last frame."""
    row = labels.tolist()
    starts = [t for t, label in enumerate(row) if t == 0 or label != row[t - 1]]
    spans = zip(starts, [*starts[1:], len(row)], strict=True)
    return [f"{row[start]}:{start}-{end - 1}" for start, end in spans if row[start] > BLANK]


if __name__ == "__main__":
    main()
