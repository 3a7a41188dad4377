"""The examples in docstrings run, and every public function has one."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

import logsum

FUNCTIONS = [name for name in logsum.__all__ if name != "__version__"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_example(name: str) -> None:
    function = getattr(logsum, name)
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
