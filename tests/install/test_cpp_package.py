"""The installed C++ package: programs outside the tree find it, build and run.

What is installed is the release build (`make build`); the programs are examples/cpp, copied away.
"""

import itertools
import math
import os
import re
import shutil
import subprocess
from operator import mul
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
    # Zeros, but for the rounding of double numbers that cancel.
    assert [abs(float(x)) for x in sums] == pytest.approx([0, 0, 0], abs=1e-15)
    assert [float(x) for x in path] == pytest.approx([0, 1, 0], abs=1e-15)


def check_scan(text: str) -> None:
    printed = dict(re.findall(r"(.*): +(\S+)", text))
    # Nights that end with the light off, by whether it was on in the last.
    fibonacci = [1, 2]
    while len(fibonacci) <= 60:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    # Seventeen digits are printed, of sums of 60 steps in double.
    assert float(printed["log of the ways"]) == pytest.approx(math.log(fibonacci[60]), rel=1e-14)
    on = fibonacci[58] / fibonacci[60]  # a night on, one off, and 58 of any kind
    assert float(printed["on in the first"]) == pytest.approx(on, rel=1e-13)
    # Every third night is worth two; between two of them there is no room for another.
    nights = printed["its nights"]
    assert len(nights) == 60
    assert "**" not in nights
    worth = sum(2 if t % 3 == 0 else 1 for t, night in enumerate(nights) if night == "*")
    assert worth == float(printed["the best is worth"]) == best_nights(60)


def best_nights(count: int) -> int:
    """The largest worth of nights of which no two are neighbours."""
    off, on = 0, 0
    for t in range(count):
        off, on = max(off, on), off + (2 if t % 3 == 0 else 1)
    return max(off, on)


def check_reduce(text: str) -> None:
    found = re.findall(r"summit: (\S+) (\S+)", text)
    summits = [[float(x) for x in summit] for summit in found]
    points = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (9.0, 9.0), (8.0, 9.0), (9.0, 8.0)]
    assert len(summits) == len(points)
    for summit, start in zip(summits, points, strict=True):
        # A summit is the mean of the points by their weights there; six digits are printed.
        weights = [math.exp(-(math.dist(summit, point) ** 2) / 2) for point in points]
        for k in range(2):
            mean = sum(w * point[k] for w, point in zip(weights, points, strict=True))
            assert summit[k] == pytest.approx(mean / sum(weights), rel=1e-5)
        assert math.dist(summit, start) < 1


def check_attention(text: str) -> None:
    printed = dict(re.findall(r"(.*): *(\S.*)", text))
    # The example's numbers: two heads of three queries, then of a thousand keys, eight each.
    state, numbers = 1, []
    for _ in range(2 * 3 * 8 + 2 * 1000 * 8):
        state = (state * 1664525 + 1013904223) % 2**32
        numbers.append((state >> 8) / 2**23 - 1)
    queries, keys = numbers[:24], numbers[48 : 48 + 8000]
    for i, lse in enumerate(printed["log of the sum of exp(scores)"].split()):
        query = queries[8 * i : 8 * i + 8]
        scores = [sum(map(mul, query, keys[8 * j : 8 * j + 8])) / 8**0.5 for j in range(1000)]
        # Six digits are printed.
        assert float(lse) == pytest.approx(math.log(math.fsum(map(math.exp, scores))), rel=1e-5)
    # A few roundings of numbers below 1, and of logarithms below 8.
    assert float(printed["in two parts, difference of the means"]) < 4 * 2**-24
    assert float(printed["in two parts, difference of the logs"]) < 4 * 2**-21
    # Three queries, each with two keys before its own.
    assert printed["keys that the first head looks at"] == "5"
    # Six tangents below 2.
    assert float(printed["forward and reverse mode, difference"]) < 2**-18


def check_ctc(text: str) -> None:
    printed = dict(re.findall(r"(.*): +(\S+)", text))
    heard, letters, target = "ttr-e-ee", "-tre", "tree"
    # e^4 for the letter heard, 1 for the three others; all spellings of eight letters.
    weights = [[math.exp(4) if letter == said else 1.0 for letter in letters] for said in heard]
    total, parted = 0.0, 0.0
    for path in itertools.product(range(4), repeat=len(heard)):
        said = "".join(letters[label] for label, _ in itertools.groupby(path)).replace("-", "")
        if said == target:
            weight = math.prod(row[label] for row, label in zip(weights, path, strict=True))
            total += weight
            parted += weight * (path[5] == 0)
    mass = math.exp(4) + 3
    # float32, and what is printed of it.
    assert float(printed["loss"]) == pytest.approx(8 * math.log(mass) - math.log(total), rel=1e-6)
    gradient = math.exp(4) / mass - parted / total
    name = "gradient of the blank between the two e"
    # Likewise; it is the difference of two shares, which takes a digit.
    assert float(printed[name]) == pytest.approx(gradient, rel=1e-5)
    assert (printed["alignment"], printed["read"]) == (heard, target)


def test_find_package(prefix: Path, example: Path, tmp_path: Path) -> None:
    build = tmp_path / "build"
    run("cmake", "-G", "Ninja", "-S", example, "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", build)
    check_logsumexp(run(build / "logsumexp"))
    check_matmul(run(build / "matmul"))
    check_reduce(run(build / "reduce"))
    check_attention(run(build / "attention"))
    check_scan(run(build / "scan"))
    check_ctc(run(build / "ctc"))


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
