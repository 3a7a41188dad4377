"""The examples run, and every public function has one in its docstring."""

from __future__ import annotations

import doctest
import inspect
import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import logsum

FUNCTIONS = [name for name in logsum.__all__ if inspect.isfunction(getattr(logsum, name))]
CLASSES = {"Genred": logsum.Genred, "Graph": logsum.Graph, "Log": type(logsum.Log)}


@pytest.mark.parametrize("name", [*FUNCTIONS, *CLASSES])
def test_example(name: str) -> None:
    function = CLASSES.get(name) or getattr(logsum, name)
    (test,) = doctest.DocTestFinder(recurse=False).find(function, name, globs={})
    assert test.examples
    threads = logsum.get_num_threads()
    report: list[str] = []
    with np.printoptions(legacy=False):
        results = doctest.DocTestRunner().run(test, out=report.append)
    assert results.failed == 0, "".join(report)
    assert logsum.get_num_threads() == threads


@pytest.mark.parametrize("name", FUNCTIONS)
def test_numpydoc_sections(name: str) -> None:
    text = getattr(logsum, name).__doc__
    sections = ["Examples"]
    if name not in ("show_config", "get_num_threads"):
        sections += ["Parameters", "Raises"]
    if name not in ("show_config", "get_num_threads", "set_num_threads"):
        sections += ["Returns", "Notes", "References"]
    for section in sections:
        assert f"    {section}\n    {'-' * len(section)}\n" in text, section


@pytest.mark.parametrize("name", CLASSES)
def test_numpydoc_of_classes(name: str) -> None:
    text = CLASSES[name].__doc__
    assert text is not None
    for section in ("Attributes", "Examples"):
        assert f"    {section}\n    {'-' * len(section)}\n" in text, section


def test_everything_public_is_described() -> None:
    assert {*FUNCTIONS, *CLASSES, "Max", "__version__"} == set(logsum.__all__)


def run_page(path: str, **names: Any) -> dict[str, Any]:
    """Run what a page shows, from top to bottom, and return its names."""
    page = (Path(__file__).parents[2] / path).read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(block, names)
    return names


def test_page_on_reductions() -> None:
    pytest.importorskip("torch")
    names = run_page("docs/reduce.md")
    assert names["c"].shape == (3000, 1)
    # Moving all points changes no distance: the gradients of both sides cancel, but for roundings.
    moved = names["dx"].sum(0) + names["dy"].sum(0)
    assert moved.abs().max() < 1e-12 * names["dx"].abs().sum()
    points = names["points"]
    squares = ((points[0] - points[1:]) ** 2).sum(axis=1)
    alone = logsum.logsumexp(-8 * squares)
    assert names["others"](points, points)[0, 0] == pytest.approx(alone, rel=1e-14)


def test_page_on_attention() -> None:
    torch = pytest.importorskip("torch")
    names = run_page("docs/attention.md")
    # The whole of its parts, and one entry of the softmax that nobody stored.
    torch.testing.assert_close(names["merged"], logsum.attention(*(names[x] for x in "qkv")))
    scores = names["q"][0, 0, 5] @ names["k"][0, 0].T / 4
    assert names["p"].item() == pytest.approx(scores.softmax(0)[9].item(), rel=1e-13)
    # A bias that all keys share changes no softmax: its gradient cancels in every row.
    rows = names["dbias"].sum(dim=-1)
    assert rows.abs().max() < 1e-5 * names["dbias"].abs().sum(dim=-1).max()
    assert 0 < names["spent"].min() < names["spent"].max() < 1
    assert names["y"].shape == names["x"].shape
    gradient = torch.func.grad(names["energy"])
    torch.testing.assert_close(names["slope"], (gradient(names["k"]) * names["u"]).sum())
    step = 1e-4 * names["u"]
    ends = gradient(names["k"] + step), gradient(names["k"] - step)
    # Central differences: the square of the step, and roundings over the step.
    torch.testing.assert_close(names["bent"], (ends[0] - ends[1]) / 2e-4, rtol=1e-5, atol=1e-6)
    assert names["points"].grad.isfinite().all()


def speech(torch: Any) -> dict[str, Any]:
    """Return what pages leave to their readers: a model, its frames, and what they say."""
    return {
        "x": torch.randn(30, 4, 6),
        "model": lambda x: 1 * x.requires_grad_(),
        "log_probs": torch.randn(30, 4, 6).log_softmax(-1),
        "targets": torch.randint(1, 6, (4, 7)),
        "input_lengths": [30, 29, 28, 20],
        "target_lengths": [7, 5, 0, 7],
    }


def test_first_page() -> None:
    torch = pytest.importorskip("torch")
    q, k, v = (torch.randn(1, 4, n, 8) for n in (5, 9, 9))
    heads = {"sinks": torch.zeros(4), "slope": torch.ones(4), "x": torch.randn(2, 5, 64)}
    halves = [(k[:, :, s], v[:, :, s]) for s in (slice(0, 4), slice(4, 9))]
    given = {  # before the block that has this word
        "ctc_loss": speech(torch),
        "Genred": {name: torch.randn(40, 3, requires_grad=True) for name in "xy"},
        "attention": {"q": q, "k": k, "v": v, "parts": halves, **heads},
    }
    page = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        for word, more in given.items():
            names |= more if word in block else {}
        exec(block, names)
    # float32 sums of terms of either sign, each in its own order.
    torch.testing.assert_close(names["dx"].sum(0), -names["dy"].sum(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(names["lse"], logsum.attention(q, k, v, return_lse=True)[1])
    assert abs(names["C"] - 400.69314718) <= names["bound"] + 5e-9


def test_page_on_products() -> None:
    names = run_page("docs/matmul.md")
    assert names["C"] == pytest.approx(400.69314718, abs=1e-8)  # the digits that the page shows
    assert names["through"] in (0, 1)


def test_page_on_scans() -> None:
    names = run_page("docs/scan.md", L=3)
    np.testing.assert_array_equal(names["idx"][:3], [[0, -1, -1], [1, 0, -1], [2, 1, 0]])
    assert names["alpha"].shape == (101, 8, 3)
    rounding = 1e-12  # of float64, in each of a hundred steps
    # Where the sweeps meet they have all paths: at every step the same sum.
    totals = logsum.logsumexp(names["alpha"] + names["beta"], axis=-1)
    np.testing.assert_allclose(totals, np.broadcast_to(totals[0], totals.shape), rtol=rounding)
    np.testing.assert_allclose(names["p"].sum(-1), 1, rtol=rounding)
    assert (names["score"] < totals[0]).all()


def test_page_on_ctc() -> None:
    torch = pytest.importorskip("torch")
    names = run_page("docs/ctc.md", **speech(torch))
    assert names["loss"].item() > 0
    assert names["x"].grad.isfinite().all()
    np.testing.assert_array_equal(names["labels"], [[1, 1]])
    np.testing.assert_array_equal(names["texts"][0], [1])


def test_attention_program(capsys: pytest.CaptureFixture[str]) -> None:
    program = Path(__file__).parents[2] / "examples" / "python" / "attention.py"
    runpy.run_path(str(program), run_name="__main__")
    printed = dict(re.findall(r"(.*?): +(-?[\d.e-]+)", capsys.readouterr().out))
    # Scores of size 30 in float32, and values of a few.
    assert float(printed["merged, beside one heap"]) < 1e-4
    assert float(printed["answered rightly"]) > 98
    assert float(printed["the right book known"]) > 98
    assert float(printed["known,   refused"]) < 20
    assert float(printed["unknown, refused"]) > 95


def test_transformer_program(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    program = Path(__file__).parents[2] / "examples" / "python" / "transformer.py"
    runpy.run_path(str(program), run_name="__main__")
    printed = dict(re.findall(r"(.*?): +(-?[\d.e-]+)", capsys.readouterr().out))
    assert float(printed["loss, step 150"]) < 0.1 * float(printed["loss, step   1"])
    # Saying no to every letter is right for 63 of 100.
    assert float(printed["answered rightly"]) > 95
    # The same log odds, of size 10, from two orders of float32 sums.
    assert float(printed["PyTorch's attention, same weights"]) < 1e-3


def test_hmm_program(capsys: pytest.CaptureFixture[str]) -> None:
    program = Path(__file__).parents[2] / "examples" / "python" / "hmm.py"
    names = runpy.run_path(str(program), run_name="__main__")
    printed = dict(re.findall(r"(.*?): +(-?[\d.]+)", capsys.readouterr().out))
    # The dice are exchanged 0.05 of the time one way and 0.1 the other: one throw in three is with
    # the loaded one. No throw is more surprising than a fair die's, or less than the loaded one's.
    # A thousand gamblers: 0.05 is three standard deviations.
    assert float(printed["last die loaded"]) == pytest.approx(1 / 3, abs=0.05)
    likelihood, best = (
        float(printed[name]) for name in ("log-likelihood a throw", "the best path alone")
    )
    assert -np.log(6) < likelihood < -1.49
    assert likelihood - 0.4 < best < likelihood
    assert printed["linear domain"] == "100"
    # A short sequence by all its paths.
    seen = np.array([[0, 5, 5]])
    names["forward"].__globals__["ROLLS"] = 3
    start, move, emit = (np.exp(names[name]) for name in ("start", "move", "emit"))
    paths = np.einsum("i,ij,jk->k", start * emit[:, 0], move * emit[:, 5], move * emit[:, 5])
    # The errors of three logarithms, absolute, are relative ones of their exponentials.
    np.testing.assert_allclose(np.exp(names["forward"](seen)[0]), paths, rtol=1e-13)


def test_sinkhorn_program(capsys: pytest.CaptureFixture[str]) -> None:
    program = Path(__file__).parents[2] / "examples" / "python" / "sinkhorn.py"
    runpy.run_path(str(program), run_name="__main__")
    printed = dict(re.findall(r"(.*?): +(-?[\d.]+)", capsys.readouterr().out))
    # The plan's entropy costs about ε log N, 2e-3 times 8, and sweeps leave a little.
    assert float(printed["cost by the potentials"]) == pytest.approx(
        float(printed["cost by the true map"]), abs=0.03
    )
    # Points are 0.05 apart in the middle of the cloud.
    assert float(printed["median way from home"]) < 0.02


def test_mixture_program(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    program = Path(__file__).parents[2] / "examples" / "python" / "mixture.py"
    runpy.run_path(str(program), run_name="__main__")
    printed = dict(re.findall(r"(.*?): +(-?[\d.]+)", capsys.readouterr().out))
    first, last, truth = (
        float(printed[f"log-likelihood, {name}"])
        for name in ("first step", "last step", "the truth")
    )
    # What fits a sample best is likelier there than the truth; 150 steps end just below the best.
    assert first < truth - 0.5
    assert last > truth - 0.005
    assert float(printed["assigned as by the truth"]) > 98


def test_ctc_program(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    program = Path(__file__).parents[2] / "examples" / "python" / "ctc.py"
    runpy.run_path(str(program), run_name="__main__")
    printed = dict(re.findall(r"(.*?): +(-?[\d.]+)", capsys.readouterr().out))
    assert float(printed["loss a word, first step"]) > 10 * float(printed["loss a word, last step"])
    # A frame is a pattern and noise of 0.6 in each of 24 features: a few are mistaken for others.
    assert float(printed["spelled without error"]) > 70
    assert float(printed["aligned within the word"]) > 98


def test_crf_program(capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch")
    program = Path(__file__).parents[2] / "examples" / "python" / "crf.py"
    names = runpy.run_path(str(program), run_name="__main__")
    printed = re.findall(r": ([\d.]+)% of the tags right, ([\d.]+)% of", capsys.readouterr().out)
    (single, nonsense), (field, none) = ((float(a), float(b)) for a, b in printed)
    assert field > single > 80
    assert none == 0 < nonsense
    # All tags of two words, one by one: p of each is what the loss says, and they add up to one.
    names["crf_loss"].__globals__.update(WORDS=2, TEXTS=1)
    rng = torch.Generator().manual_seed(1)
    scores, transitions = torch.randn(2, 1, 3, generator=rng), torch.randn(8, generator=rng)
    total = sum(
        (-2 * names["crf_loss"](scores, transitions, torch.tensor([[first], [second]]))).exp()
        for first, second in names["ARCS"]
        if first != names["I"]
    )
    torch.testing.assert_close(total, torch.tensor(1.0))
