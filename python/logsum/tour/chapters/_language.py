"""A small character-level transformer and the text that it reads, both without any download."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

import logsum
from logsum.tour._contenders import find_module

Array = NDArray[Any]
# q (B, H, M, D), k and v (B, H, N, D) and a slope (H,) to (B, H, M, D): the last query sees all
# keys, those before it one less each, and a key's score is lower by slope(h) for each step it lies
# back (O. Press, N. Smith, M. Lewis, "Train short, test long", 2022).
Attend = Callable[[Any, Any, Any, Any], Any]
FORGETTING = "s - slope(h) * (i - j)"


@dataclass(frozen=True)
class Text:
    """A text as numbers of its characters, the last part held out."""

    alphabet: str
    train: Array
    held_out: Array

    def spell(self, ids: Array) -> str:
        """Return the characters of some numbers."""
        return "".join(self.alphabet[number] for number in ids)


def load_text() -> Text | None:
    """Return what Python's help() prints on its topics, or None where it is not installed.

    Chapters of the language reference, which CPython carries as a module; of them the paragraphs
    of prose: some hundred thousand characters of English about Python.
    """
    if importlib.util.find_spec("pydoc_data") is None:
        return None
    topics: Any = find_module("pydoc_data.topics")
    paragraphs = "\n\n".join(topics.topics[name] for name in sorted(topics.topics)).split("\n\n")
    text = "\n".join(" ".join(each.split()) for each in paragraphs if _is_prose(each))
    alphabet = "".join(sorted(set(text)))
    ids = np.array([alphabet.index(character) for character in text])
    train, held_out = np.split(ids, [len(ids) * 9 // 10])
    return Text(alphabet, train, held_out)


def _is_prose(paragraph: str) -> bool:
    """Whether a paragraph is neither a table nor a listing, and in ASCII."""
    plain = sum(character.isalpha() or character.isspace() for character in paragraph)
    return paragraph.isascii() and plain > 0.9 * len(paragraph) and len(paragraph) > 100


@dataclass(frozen=True)
class Settings:
    """The size of a model and of its training."""

    context: int = 96
    width: int = 96
    heads: int = 4
    layers: int = 2
    batch: int = 16
    steps: int = 250
    rate: float = 5e-3
    seconds: float = 17.0  # no step begins after these

    def rate_at(self, step: int) -> float:
        """Return the learning rate: up in a tenth of the steps, then down a half cosine."""
        rise = max(1, self.steps // 10)
        if step < rise:
            return self.rate * (step + 1) / rise
        return self.rate * (0.05 + 0.475 * (1 + math.cos(math.pi * step / self.steps)))


@dataclass(frozen=True)
class Cache:
    """Keys and values (1, H, N, D) of all layers, of the characters so far."""

    keys: list[Any]
    values: list[Any]


class Model:
    """A transformer that learns how fast each head forgets, its output tied to its input."""

    def __init__(self, settings: Settings, letters: int, seed: int) -> None:
        torch: Any = find_module("torch")
        generator = torch.Generator().manual_seed(seed)
        width = settings.width

        def normal(rows: int, columns: int, size: float) -> Any:
            drawn = torch.randn(rows, columns, generator=generator) * size
            return drawn.requires_grad_()

        self.heads = settings.heads
        self.letters = normal(letters, width, 0.02)
        first = 4.0 ** -torch.arange(settings.heads)
        self.slopes = [first.clone().requires_grad_() for _ in range(settings.layers)]
        inner, outer = 1 / math.sqrt(width), 1 / math.sqrt(4 * width * settings.layers)
        self.layers = [
            (
                normal(width, 3 * width, inner),
                normal(width, width, outer),
                normal(width, 4 * width, inner),
                normal(4 * width, width, outer / 2),
            )
            for _ in range(settings.layers)
        ]

    def parameters(self) -> list[Any]:
        """Return all tensors that are learnt."""
        weights = (weight for layer in self.layers for weight in layer)
        return [self.letters, *self.slopes, *weights]

    def logits(self, ids: Any, attend: Attend, cache: Cache | None = None) -> Any:
        """Return scores of the next character, (B, M, letters), after each of ids (B, M).

        With a cache, ids follow what is in it, and their keys and values are added to it.
        """
        torch: Any = find_module("torch")
        batch, length = ids.shape
        x = self.letters[ids]
        for number, (to_qkv, from_heads, up, down) in enumerate(self.layers):
            qkv = (self._normal(x) @ to_qkv).view(batch, length, 3, self.heads, -1)
            q, k, v = qkv.permute(2, 0, 3, 1, 4)  # views: nothing is copied
            if cache is not None:
                k, v = self._extend(cache, number, k, v)
            heads = attend(q, k, v, self.slopes[number]).transpose(1, 2)
            x = x + heads.reshape(batch, length, -1) @ from_heads
            x = x + torch.nn.functional.gelu(self._normal(x) @ up) @ down
        return self._normal(x) @ self.letters.T

    @staticmethod
    def _normal(x: Any) -> Any:
        torch: Any = find_module("torch")
        return torch.nn.functional.layer_norm(x, x.shape[-1:])

    @staticmethod
    def _extend(cache: Cache, number: int, k: Any, v: Any) -> tuple[Any, Any]:
        torch: Any = find_module("torch")
        if number == len(cache.keys):
            cache.keys.append(k)
            cache.values.append(v)
        else:
            cache.keys[number] = torch.cat([cache.keys[number], k], 2)
            cache.values[number] = torch.cat([cache.values[number], v], 2)
        return cache.keys[number], cache.values[number]


def with_logsum(q: Any, k: Any, v: Any, slope: Any) -> Any:
    """Attend by logsum.attention; what a row's scores have in common changes nothing."""
    return logsum.attention(
        q, k, v, causal="bottom-right", score=FORGETTING, score_args={"slope": slope}
    )


def with_torch(q: Any, k: Any, v: Any, slope: Any) -> Any:
    """Attend by torch's scaled_dot_product_attention, which takes a bias for every pair."""
    torch: Any = find_module("torch")
    back = torch.arange(q.shape[2])[:, None] - torch.arange(k.shape[2])
    bias = torch.where(back < 0, -math.inf, -slope[:, None, None] * back)
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias[None])


@dataclass(frozen=True)
class Trained:
    """A trained model, the loss of every step, that of held-out text, and the seconds it took."""

    model: Model
    losses: Array
    held_out: float
    seconds: float


def train(text: Text, settings: Settings, attend: Attend, steps: int | None = None) -> Trained:
    """Train a model from the tour's seed; `steps` stops it after so many, else its seconds do."""
    torch: Any = find_module("torch")
    model = Model(settings, len(text.alphabet), seed=20)
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.01, betas=(0.9, 0.95))
    rng = np.random.default_rng(20)
    losses: list[float] = []
    start = perf_counter()
    for step in range(settings.steps if steps is None else steps):
        if steps is None and perf_counter() - start > settings.seconds:
            break
        for group in optimiser.param_groups:
            group["lr"] = settings.rate_at(step)
        loss = _loss(model, _batch(text.train, settings, rng), attend)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    seconds = perf_counter() - start
    rng = np.random.default_rng(21)
    with torch.no_grad():
        held_out = [
            _loss(model, _batch(text.held_out, settings, rng), attend).item() for _ in "1234"
        ]
    return Trained(model, np.array(losses), float(np.mean(held_out)), seconds)


def _batch(ids: Array, settings: Settings, rng: np.random.Generator) -> Any:
    torch: Any = find_module("torch")
    starts = rng.integers(0, len(ids) - settings.context, settings.batch)
    return torch.from_numpy(ids[starts[:, None] + np.arange(settings.context + 1)])


def _loss(model: Model, ids: Any, attend: Attend) -> Any:
    torch: Any = find_module("torch")
    # In double, so that losses which differ by less than a float32's ulp can be told apart.
    logits = model.logits(ids[:, :-1], attend).double()
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())


def write(model: Model, text: Text, prompt: str, count: int) -> str:
    """Let the model go on from a prompt, one query against all keys so far at a time."""
    torch: Any = find_module("torch")
    generator = torch.Generator().manual_seed(20)
    ids = torch.tensor([[text.alphabet.index(character) for character in prompt]])
    cache, written = Cache([], []), []
    with torch.no_grad():
        for _ in range(count):
            logits = model.logits(ids, with_logsum, cache)[:, -1]
            shares = torch.softmax(logits / 0.7, -1)  # a little more sure than it is
            ids = torch.multinomial(shares, 1, generator=generator)
            written.append(ids.item())
    return prompt + text.spell(np.array(written))
