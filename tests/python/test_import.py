"""What `import logsum` does, and what it leaves alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

import logsum
from tensors import needs_torch

# The audit hook sees every file that is opened, by whatever module; reading Python's own is
# what an import is, so only writing counts, and only for the import of logsum itself.
QUIET = """
import sys, threading, os, numpy
writes = []
def watch(event, arguments):
    if event == "open" and arguments[2] is not None:
        if arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            writes.append(arguments[0])
    elif event.split(".")[0] in ("subprocess", "socket", "shutil", "tempfile") or event in (
        "os.mkdir", "os.remove", "os.rename", "os.system", "os.fork"
    ):
        writes.append(event)
def threads():
    return len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 1
before, modules, environment = threads(), set(sys.modules), dict(os.environ)
sys.addaudithook(watch)
import logsum
assert not writes, writes
assert threads() == before == threads() and threading.active_count() == 1
assert dict(os.environ) == environment
new = set(sys.modules) - modules
assert "torch" not in new, "torch"
heavy = {name.split(".")[0] for name in new} & {"scipy", "matplotlib", "rich", "sklearn", "torch"}
assert not heavy, heavy
assert not {name for name in new if name.startswith(("logsum.torch", "logsum.tour"))}
logsum.logsumexp([1.0, 2.0]), logsum.softmax(numpy.ones(3)), logsum.merge(numpy.ones(3))
assert "torch" not in sys.modules
print("quiet")
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process that writes no bytecode."""
    return subprocess.run(
        [sys.executable, "-B", "-c", code], capture_output=True, text=True, timeout=300, check=False
    )


def test_import_leaves_everything_alone() -> None:
    done = run(QUIET)
    assert (done.stdout, done.stderr) == ("quiet\n", "")


def test_import_loads_few_modules() -> None:
    code = "import numpy, sys; before = set(sys.modules); import logsum; "
    done = run(code + "print(*sorted(set(sys.modules) - before))")
    ours, others = [], []
    for name in done.stdout.split():
        (ours if name.partition(".")[0] == "logsum" else others).append(name)
    assert len(ours) <= 34, ours
    # Beside our own small files, a handful of the standard library's: what the 100 ms are made of.
    assert len(others) <= 20, others


@needs_torch
@pytest.mark.parametrize("order", ["import torch, logsum", "import logsum, torch"])
def test_tensors_work_in_either_order(order: str) -> None:
    code = f"{order}; print(logsum.logsumexp(torch.zeros(2), 0).item())"
    assert run(code).stdout.startswith("0.693147")


@needs_torch
def test_only_those_who_compile_wait_for_the_compiler() -> None:
    code = """
import sys, torch, logsum
logsum.logsumexp(torch.zeros(2), 0)
total = logsum.Genred("x * y", ["x = Vi(1)", "y = Vj(1)"])
total(torch.ones(1, 1), torch.ones(1, 1, requires_grad=True)).sum().backward()
print("torch._dynamo" in sys.modules)
"""
    done = run(code)
    assert done.stdout == "False\n", done.stderr


@needs_torch
def test_first_call_may_be_compiled() -> None:
    code = """
import logsum, torch
f = torch.compile(lambda a: logsum.logsumexp(a, 1), fullgraph=True, backend="aot_eager")
print(f(torch.zeros(1, 2)).item())
"""
    done = run(code)
    assert done.stdout.startswith("0.693147"), done.stderr


def test_public_names() -> None:
    assert sorted(logsum.__all__) == logsum.__all__
    public = {name for name in dir(logsum) if not name.startswith("_")}
    assert public - {"torch", "tour"} == set(logsum.__all__) - {"__version__"}
    for name in set(logsum.__all__) - {"__version__"}:
        function = getattr(logsum, name)
        assert function.__doc__
        assert function.__module__.startswith("logsum._")


@needs_torch
def test_the_first_call_may_be_under_a_transform() -> None:
    """What plain tensors look like is learned when the face is loaded, wherever that happens."""
    code = """
import torch, logsum
torch.func.vmap(lambda a: logsum.logsumexp(a, 0))(torch.zeros(3, 4))
from logsum.torch import _operator
print(_operator.is_plain((torch.zeros(3),)))
"""
    assert run(code).stdout == "True\n"
