"""The Python package as a wheel: it builds, installs apart from the tree, and computes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PROGRAM = """
import math, sys
import logsum
assert logsum.__file__.startswith(sys.argv[1]), logsum.__file__
assert logsum.__version__ == sys.argv[2], logsum.__version__
assert abs(logsum.logsumexp([1000.0, 1000.5, -math.inf]) - 1000.9740769841801) < 1e-12
"""


def pip(*arguments: str | Path) -> None:
    """Run pip; a failure shows what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built with what is installed, so that no network is needed.

    The release build has compiled the same sources as they are shipped; what is new here is the
    package, so its kernels are those of one CPU target, in a hurry, in a build folder of its own.
    """
    folder = tmp_path_factory.mktemp("wheel")
    settings = {
        "build-dir": "build/wheel_test",
        "cmake.define.LOGSUM_ONLY_TARGET": "SSE4",
        "cmake.define.CMAKE_CXX_FLAGS_RELEASE": "-O1",
    }
    options = [f"--config-settings={name}={value}" for name, value in settings.items()]
    pip("wheel", "--no-build-isolation", "--no-deps", *options, "-w", folder, ROOT)
    (path,) = folder.glob("logsum-*.whl")
    return path


def test_installs_and_computes(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    pip("install", "--no-deps", "--target", site, wheel)
    version = wheel.name.split("-")[1]
    subprocess.run(
        [sys.executable, "-c", PROGRAM, str(site), version],
        env=os.environ | {"PYTHONPATH": str(site)},
        cwd=tmp_path,
        check=True,
    )
    assert (site / "logsum/py.typed").exists()
    assert (site / "logsum/_core.pyi").exists()
