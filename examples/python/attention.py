"""A memory in ten books: each is asked by itself, and the answers are merged by their lse.

    python examples/python/attention.py

A fact is a key and a value. A question is a key that has been heard badly, and its answer is an
attention over all facts. The books may lie on ten machines, or be read on ten days: of each only
the answer and its log-sum-exp are needed, which also say in which book the fact was found. A sink
takes questions about facts that are in no book: they are refused if it has more than half.
"""

import numpy as np

import logsum

BOOKS, FACTS, QUESTIONS, SIZE = 10, 2000, 200, 64
SCALE = 0.4  # a key's product with itself is 64: then 26, and with another key 0 +- 4
SINK = np.array([20.0], np.float32)  # between 26 and the lse of all wrong keys, about 16
State = tuple[np.ndarray, np.ndarray]


def ask(
    questions: np.ndarray, keys: np.ndarray, values: np.ndarray, **options: np.ndarray
) -> State:
    """Return answers (questions, SIZE) and log-sum-exps of one book."""
    batch = (array[None, None] for array in (questions, keys, values))
    out, lse = logsum.attention(*batch, scale=SCALE, return_lse=True, **options)
    return out[0, 0], lse[0, 0]


def main() -> None:
    """Ask about known and unknown facts, in books and in one heap."""
    rng = np.random.default_rng(3)
    keys, values = rng.standard_normal((2, BOOKS, FACTS, SIZE), dtype=np.float32)
    book, fact = rng.integers(BOOKS, size=QUESTIONS), rng.integers(FACTS, size=QUESTIONS)
    noise = 0.5 * rng.standard_normal((QUESTIONS, SIZE), dtype=np.float32)
    known = keys[book, fact] + noise
    unknown = rng.standard_normal((QUESTIONS, SIZE), dtype=np.float32) + noise

    answers = [ask(known, keys[b], values[b]) for b in range(BOOKS)]
    merged, lse = logsum.merge(*answers)
    heap_keys, heap_values = keys.reshape(-1, SIZE), values.reshape(-1, SIZE)
    heap, _ = ask(known, heap_keys, heap_values)
    shares = np.exp(
        np.stack([part for _, part in answers]) - lse
    )  # of the books, for each question
    right = np.linalg.norm(merged - values[book, fact], axis=1) < 2  # others are about 11 away

    print(f"merged, beside one heap: {np.abs(merged - heap).max():.1e}")
    print(f"answered rightly:        {right.mean():.1%}")
    print(f"the right book known:    {(shares.argmax(axis=0) == book).mean():.1%}")
    for name, questions in (("known", known), ("unknown", unknown)):
        _, lse = ask(questions, heap_keys, heap_values, sinks=SINK)
        refused = np.exp(SINK - lse) > 0.5
        print(f"{name + ',':8} refused:        {refused.mean():.1%}")


if __name__ == "__main__":
    main()
