"""The settings of a process, and what this build and this machine offer."""

from __future__ import annotations

import operator
from importlib.util import find_spec

from logsum import _core
from logsum._arguments import type_error, type_name, value_error

_MOST = (1 << 31) - 1  # what the C++ call takes


def set_num_threads(n: int) -> None:
    """Set the number of threads that a call may use.

    The default is OpenMP's (``OMP_NUM_THREADS``; ``torch.set_num_threads`` where PyTorch shares
    the runtime) or the number of cores. Results have the same bits for every number of threads.
    A child process made by ``os.fork`` computes on one thread, whatever is set.

    Parameters
    ----------
    n : int
        The number of threads; 0 returns to the default.

    Raises
    ------
    TypeError
        If `n` is not an integer.
    ValueError
        If `n` is negative or beyond a C++ int.

    Examples
    --------
    >>> import logsum
    >>> logsum.set_num_threads(2)
    >>> logsum.get_num_threads()
    2
    >>> logsum.set_num_threads(0)
    """
    try:
        count = operator.index(n)
    except TypeError:
        raise type_error("set_num_threads", "n", "int", type_name(n)) from None
    if not 0 <= count <= _MOST:
        raise value_error("set_num_threads", "n", f"an integer from 0 to {_MOST}", count)
    _core.set_num_threads(count)


def get_num_threads() -> int:
    """Return the number of threads that a call may use.

    Returns
    -------
    int
        What `set_num_threads` set, else the default.

    Examples
    --------
    >>> import logsum
    >>> logsum.get_num_threads() >= 1
    True
    """
    return _core.get_num_threads()


def show_config() -> None:
    """Print the version, the CPU target in use, threads, and what was found of torch and CUDA.

    The same as ``python -m logsum info``. Looks for torch without importing it.

    Examples
    --------
    >>> import logsum
    >>> logsum.show_config()  # doctest: +ELLIPSIS
    logsum       ...
    CPU target   ...
    threads      ...
    torch        ...
    CUDA         not built yet
    """
    config = _core.config()
    available = ", ".join(config.cpu_targets)
    rows = {
        "logsum": config.version,
        "CPU target": f"{config.cpu_target} (available: {available})",
        "threads": f"{config.num_threads} ({config.thread_backend})",
        "torch": _torch_version(),
        "CUDA": "not built yet",
    }
    for name, value in rows.items():
        print(f"{name:<12} {value}")


def _torch_version() -> str:
    if find_spec("torch") is None:
        return "not installed: NumPy only"
    from importlib import metadata  # slow to load, and wanted nowhere else

    return metadata.version("torch")
