"""How many films may go through the network at once. May depend on nothing; torch is imported inside functions."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import device

MAX_FILMS_PER_PASS: Final = 8  # measured on CPUs: 8 to 16 are fastest, 50 takes 1.3 to 2 times as long
MEMORY_FRACTION: Final = 0.25  # of what is free; other films, threads and processes want some as well
COPIES_KEPT: Final = 3  # activations, their gradients, and the workspace of a convolution
FALLBACK_BYTES: Final = 1 << 30  # where the system does not say what is free

_CGROUP: Final = Path("/sys/fs/cgroup")


def choose_films_per_pass(bytes_per_film: int, available_bytes: int) -> int:
    """Return how many films may go through the network at once, at least 1.

    Args:
        bytes_per_film: What the activations of one film take; see `layers.Trace`.
        available_bytes: What is free now.

    >>> choose_films_per_pass(100 << 20, 8 << 30)
    6
    >>> choose_films_per_pass(100 << 20, 100 << 20)
    1
    """
    fitting = int(available_bytes * MEMORY_FRACTION) // max(1, COPIES_KEPT * bytes_per_film)
    return min(max(1, fitting), MAX_FILMS_PER_PASS)


def read_available_bytes(place: "device") -> int:
    """Return the memory that is free where the model lies: on its accelerator, or in this machine or container."""
    if place.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(place)[0])
    return min(_read_free_of_machine(), _read_free_of_container())


def _read_free_of_machine() -> int:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):  # not Linux
        return FALLBACK_BYTES


def _read_free_of_container() -> int:
    """Return what a container may still take; files that are merely cached would make room."""
    try:
        limit = int((_CGROUP / "memory.max").read_text(encoding="ascii"))
        used = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
        stat = dict(line.split() for line in (_CGROUP / "memory.stat").read_text(encoding="ascii").splitlines())
    except (OSError, ValueError):  # no container, or one without a limit
        return sys.maxsize
    return max(0, limit - used + int(stat.get("inactive_file", 0)))
