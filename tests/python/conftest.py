"""Settings of the whole Python suite."""

from __future__ import annotations

import hypothesis
import pytest

# Examples are the same in every run: a suite that fails today fails tomorrow. `--hypothesis-profile
# explore` looks further.
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True, max_examples=40)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=2000)
hypothesis.settings.load_profile("suite")


def pytest_configure(config: pytest.Config) -> None:
    """Let pass the one warning that torch gives about itself; all others are errors."""
    # Forward mode compiles its decompositions with torch.jit.script when first used.
    line = "ignore:`torch.jit.script` is deprecated:DeprecationWarning"
    config.addinivalue_line("filterwarnings", line)
