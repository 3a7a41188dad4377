"""A child of os.fork computes, whatever its parent did with threads before."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tensors import needs_torch

# Each program runs in a process of its own and under a time limit: what fails here hangs.
LIMIT = 120

FORK = """
import os, sys
import numpy as np
import logsum
a = np.zeros((64, 50_000))
logsum.set_num_threads(2)
expected = logsum.logsumexp(a, 1).tobytes()  # starts the pool
for _ in range(3):
    child = os.fork()
    if child == 0:
        same = logsum.logsumexp(a, 1).tobytes() == expected
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert logsum.logsumexp(a, 1).tobytes() == expected  # the parent goes on as before
print("done")
"""

GRANDCHILD = """
import os
import numpy as np
import logsum
a = np.zeros((64, 50_000))
logsum.logsumexp(a, 1)
child = os.fork()
if child == 0:
    logsum.logsumexp(a, 1)
    grandchild = os.fork()
    if grandchild == 0:
        logsum.logsumexp(a, 1)
        os._exit(0)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
assert os.waitpid(child, 0)[1] == 0
print("done")
"""

LOADER = """
import torch
import logsum

class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 4
    def __getitem__(self, k):
        return logsum.logsumexp(torch.full((64, 50_000), float(k)), 1)

if __name__ == "__main__":
    torch.logsumexp(torch.zeros(64, 50_000), 1)
    direct = [Rows()[k] for k in range(4)]
    loader = torch.utils.data.DataLoader(
        Rows(), num_workers=1, multiprocessing_context="fork", timeout=60
    )
    for row, expected in zip(loader, direct, strict=True):
        assert torch.equal(row[0], expected)
    print("done")
"""

POOL = """
import multiprocessing
import numpy as np
import logsum

def work(k):
    return float(logsum.logsumexp(np.full((64, 50_000), float(k)), (0, 1)))

if __name__ == "__main__":
    expected = [work(k) for k in range(4)]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(work, range(4)) == expected
    print("done")
"""


def judge(code: str) -> None:
    """Run a program to its end."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.stdout == "done\n", done.stderr


@pytest.mark.skipif(not hasattr(sys, "getdlopenflags"), reason="fork is of POSIX")
@pytest.mark.parametrize("code", [FORK, GRANDCHILD, POOL], ids=["fork", "grandchild", "pool"])
def test_child_computes(code: str) -> None:
    judge(code)


@needs_torch
def test_data_loader_worker() -> None:
    judge(LOADER)
