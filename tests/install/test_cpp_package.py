"""The installed C++ package: programs outside the tree find it, build and run.

What is installed is the release build (`make build`); the programs are examples/cpp, copied away.
"""

import math
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, **environment: str) -> str:
    """Run a command; its output, or a failure that shows it."""
    done = subprocess.run(
        [str(word) for word in command],
        env=os.environ | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the release build is installed."""
    path = tmp_path_factory.mktemp("prefix")
    run("cmake", "--install", ROOT / "build/release", "--prefix", path)
    return path


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A copy of examples/cpp with nothing of the project around it."""
    return Path(shutil.copytree(ROOT / "examples/cpp", tmp_path / "example"))


def check_logsumexp(text: str) -> None:
    printed = dict(re.findall(r"(\w+): +(\S+)", text))
    assert printed["formula"] == "inf"
    # log(e^1000 + e^1000.5) = 1000.5 + log(1 + e^-0.5)
    assert float(printed["logsum"]) == pytest.approx(1000.5 + math.log1p(math.exp(-0.5)), rel=1e-15)


def check_matmul(text: str) -> None:
    rows = [line.partition(":")[2].split() for line in text.splitlines()]
    product, sums, path = [[float(x) for x in row] for row in rows[:3]], rows[3], rows[4]
    # From 0 to 2 by two moves; staying and skipping, or skipping and staying, is e^-100 of that.
    # Six digits are printed.
    assert product[2][0] == pytest.approx(-1400, rel=1e-5)
    assert [abs(float(x)) for x in sums] == pytest.approx([0, 0, 0], abs=1e-15)
    assert [float(x) for x in path] == pytest.approx([0, 1, 0], abs=1e-15)


def test_find_package(prefix: Path, example: Path, tmp_path: Path) -> None:
    build = tmp_path / "build"
    run("cmake", "-G", "Ninja", "-S", example, "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", build)
    check_logsumexp(run(build / "logsumexp"))
    check_matmul(run(build / "matmul"))


def test_pkg_config(prefix: Path, example: Path, tmp_path: Path) -> None:
    if shutil.which("pkg-config") is None:
        pytest.skip("pkg-config is not installed")
    (pc,) = prefix.rglob("logsum.pc")
    flags = run("pkg-config", "--cflags", "--libs", "logsum", PKG_CONFIG_PATH=str(pc.parent))
    program = tmp_path / "logsumexp"
    run("c++", "-std=c++20", example / "logsumexp.cpp", "-o", program, *flags.split())
    check_logsumexp(run(program))


def test_headers_compile_alone(prefix: Path, tmp_path: Path) -> None:
    """Every public header includes what it needs, and nothing but the standard library."""
    headers = sorted((prefix / "include/logsum").glob("*.hpp"))
    assert headers
    for header in headers:
        source = tmp_path / f"{header.stem}.cpp"
        source.write_text(f"#include <logsum/{header.name}>\n#include <logsum/{header.name}>\n")
        run(
            "c++",
            "-std=c++20",
            "-Wall",
            "-Wextra",
            "-Wpedantic",
            "-Werror",
            "-fsyntax-only",
            "-I",
            prefix / "include",
            source,
        )
