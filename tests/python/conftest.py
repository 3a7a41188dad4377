"""Settings of the whole Python suite."""

from __future__ import annotations

import logging
import os

import hypothesis
import pytest

# Workers run side by side, with several threads each: one that waits must not take a core by
# spinning, which is OpenMP's habit. Read when the first OpenMP library is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Examples are the same in every run: a suite that fails today fails tomorrow. `--hypothesis-profile
# explore` looks further.
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True, max_examples=40)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=2000)
hypothesis.settings.load_profile("suite")


def pytest_configure(config: pytest.Config) -> None:
    """Quieten torch: one warning that it gives about itself (all others are errors), its trace."""
    # Forward mode and torch.compile use torch.jit.script within torch.
    line = "ignore:`torch.jit.script:DeprecationWarning"
    config.addinivalue_line("filterwarnings", line)
    # What torch.compile traces for its own tools would bury the report of a failing test.
    logging.getLogger("torch.__trace").propagate = False
