"""Threads, targets, show_config and the command line."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import logsum
from logsum import _core
from logsum.__main__ import main

HEADER = Path(__file__).parents[2] / "include" / "logsum" / "version.hpp"


@pytest.fixture(autouse=True)
def _default_settings() -> Iterator[None]:
    yield
    logsum.set_num_threads(0)
    _core.set_cpu_target("")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own."""
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
        check=False,
    )


def test_threads_are_set_and_reset() -> None:
    default = logsum.get_num_threads()
    for n in (1, 3, np.int64(2)):
        logsum.set_num_threads(n)
        assert logsum.get_num_threads() == n
    logsum.set_num_threads(0)
    assert logsum.get_num_threads() == default


def test_every_number_of_threads_gives_the_same_bits() -> None:
    a = np.random.default_rng(23).normal(size=(300, 4001))
    results = []
    for n in (1, 2, 3, 7):
        logsum.set_num_threads(n)
        results.append([logsum.logsumexp(a, axis).tobytes() for axis in (None, 0, 1)])
    assert all(result == results[0] for result in results)


def test_omp_num_threads_changes_no_bit() -> None:
    script = (
        "import hashlib, numpy as np, logsum\n"
        "a = np.random.default_rng(3).normal(0, 4, (3, 200_003)).astype(np.float32)\n"
        "results = [logsum.logsumexp(a, axis) for axis in (0, 1, None)]\n"
        "results += [logsum.softmax(a, 1), logsum.log_softmax(a, 0)]\n"
        "digest = hashlib.sha256(b''.join(np.asarray(r).tobytes() for r in results))\n"
        "print(logsum.get_num_threads(), digest.hexdigest())"
    )
    printed = [run("-c", script, OMP_NUM_THREADS=n) for n in ("1", "2", "5")]
    threads, digests = zip(*(one.stdout.split() for one in printed), strict=True)
    assert threads == ("1", "2", "5")
    assert len(set(digests)) == 1


@pytest.mark.parametrize(
    ("n", "kind"), [(-1, ValueError), (1.5, TypeError), ("2", TypeError), (1 << 40, ValueError)]
)
def test_wrong_threads(n: Any, kind: type[Exception]) -> None:
    before = logsum.get_num_threads()
    with pytest.raises(kind, match=r"set_num_threads: n: expected .*, got"):
        logsum.set_num_threads(n)
    assert logsum.get_num_threads() == before


def test_targets() -> None:
    config = _core.config()
    assert config.cpu_target in config.cpu_targets
    assert config.thread_backend in ("OpenMP", "std::thread")
    for target in config.cpu_targets:
        _core.set_cpu_target(target)
        assert _core.config().cpu_target == target
        assert logsum.logsumexp([0.0, 0.0]) == pytest.approx(np.log(2), rel=1e-15)
    with pytest.raises(ValueError, match="VAX"):
        _core.set_cpu_target("VAX")


def test_forced_target() -> None:
    lowest = _core.config().cpu_targets[-1]
    done = run("-m", "logsum", "info", LOGSUM_FORCE_TARGET=lowest)
    assert f"CPU target   {lowest} " in done.stdout
    assert run("-m", "logsum", "info", LOGSUM_FORCE_TARGET="VAX").returncode != 0


def test_show_config(capsys: pytest.CaptureFixture[str]) -> None:
    logsum.set_num_threads(3)
    logsum.show_config()
    rows = {line[:12].rstrip(): line[13:] for line in capsys.readouterr().out.splitlines()}
    assert list(rows) == ["logsum", "CPU target", "threads", "torch", "CUDA"]
    assert rows["logsum"] == logsum.__version__
    assert rows["CPU target"].startswith(_core.config().cpu_target)
    assert rows["threads"].startswith("3 (")


def test_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    info = capsys.readouterr().out
    logsum.show_config()
    assert capsys.readouterr().out == info
    assert run("-m", "logsum", "info").stdout == info


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["info", "--more"]])
def test_wrong_command_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: python -m logsum" in capsys.readouterr().err


def test_tour_takes_its_own_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tour", "--list"]) == 0
    assert capsys.readouterr().out


def test_torch_is_found_without_importing_it() -> None:
    code = "import logsum, sys; logsum.show_config(); assert 'torch' not in sys.modules"
    done = run("-c", code)
    assert done.returncode == 0, done.stderr
    try:
        assert importlib.metadata.version("torch") in done.stdout
    except importlib.metadata.PackageNotFoundError:
        assert "not installed" in done.stdout


def test_one_version() -> None:
    numbers = re.findall(r"#define LOGSUM_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", HEADER.read_text())
    assert logsum.__version__ == ".".join(numbers) == _core.config().version
