"""Evaluation on several processes: each answers its own films, and everybody ends with all of them, each once.

Works under `torchrun` and `accelerate launch`; in a single process everything here is the identity. May depend on the
standard library; imports torch only inside functions.
"""

import os
from typing import TypeVar

Item = TypeVar("Item")


def list_own(num_films: int) -> range:
    """Return the positions of the films that this process answers.

    Over all processes the ranges hold 0..num_films-1 once; no film is repeated to make them equally long.

    Args:
        num_films: Films of the whole split.
    """
    rank, num_processes = _read_rank()
    return range(num_films * rank // num_processes, num_films * (rank + 1) // num_processes)


def gather_in_order(own: list[Item]) -> list[Item]:
    """Return the items of all processes, in the order of their ranks; every process must call it.

    Args:
        own: What this process found for the films of `list_own`, in their order.
    """
    num_processes = _read_rank()[1]
    if num_processes == 1:
        return own
    import torch.distributed as dist

    parts: list[list[Item]] = [[] for _ in range(num_processes)]
    dist.all_gather_object(parts, own)
    return [item for part in parts for item in part]


def is_main_process() -> bool:
    """Return whether this process writes files and prints."""
    return _read_rank()[0] == 0


def join_processes() -> None:
    """Join the other processes of a launcher; without one, do nothing."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from accelerate import PartialState

        PartialState()


def _read_rank() -> tuple[int, int]:
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    return dist.get_rank(), dist.get_world_size()
