"""The processes of one run: each computes a share, and these functions put the shares together. Started by torchrun;
alone, the process is the first of one and nothing here communicates. What is shared is decided elsewhere."""

import gc
import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from src.utils.errors import UserError

T = TypeVar("T")

PATIENCE = timedelta(hours=2)
"""How long processes wait for each other, as for the first to decode a dataset. A dead one is noticed at once, or, by
GPUs that wait for it, when torchrun ends them."""
DTYPES = (
    torch.float32, torch.float64, torch.int64, torch.int32, torch.uint8, torch.bool, torch.bfloat16, torch.float16
)  # fmt: skip
MOST_AXES = 6

_device = torch.device("cpu")


class ProcessLost(UserError):
    """Another process of the run has ended, so that this one cannot go on."""


def asked_for() -> int:
    """How many processes torchrun started; 1 without it. UserError where its variables make no sense."""
    try:
        return int(os.environ.get("WORLD_SIZE", "1"))
    except ValueError:
        raise UserError(
            f"WORLD_SIZE {os.environ['WORLD_SIZE']!r} is no number; start with torchrun"
        ) from None


def started_as() -> int:
    """The number that torchrun gave this process, also before it has joined the others; 0 without it."""
    rank = os.environ.get("RANK", "")
    return int(rank) if rank.isdecimal() else 0


def device_of_process(name: str | None) -> str | None:
    """The name of the device that this process computes on, of which the user named ``name`` or none: under torchrun
    the GPU of its number on this machine."""
    if asked_for() == 1 or name == "cpu" or (name is None and not torch.cuda.is_available()):
        return name
    local, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if name not in (None, "cuda"):
        raise UserError(
            f"--device {name}: of several processes each has a device of its own; leave it out, or use cuda or cpu"
        )
    if local >= gpus:
        raise UserError(
            f"torchrun started more processes than the {gpus} GPUs here; lower --nproc_per_node, or use --device cpu"
        )
    return f"cuda:{local}"


@contextmanager
def together(own_device: torch.device) -> Iterator[None]:
    """Join the other processes for the block, if torchrun started several."""
    if asked_for() == 1:
        yield
        return
    global _device
    _device = own_device
    if own_device.type == "cuda":
        torch.cuda.set_device(own_device)
    # Numbers on the CPU go by gloo in either case, such as whether to stop.
    backend = "cpu:gloo,cuda:nccl" if own_device.type == "cuda" else "gloo"
    try:
        dist.init_process_group(backend, timeout=PATIENCE)
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"the {asked_for()} processes cannot find each other ({str(error).splitlines()[0]}); start them with "
            "torchrun, and look at MASTER_ADDR and MASTER_PORT"
        ) from error
    yield
    # Not after an error: taking leave may wait for a process that has died.
    wait()
    gc.collect()  # of what still holds the group and, let go at exit, now and then ends the process with an abort
    dist.destroy_process_group()


def leave(status: int) -> NoReturn:
    """End this process, one of several, at once: an orderly end would wait for those that are lost, or abort."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def device() -> torch.device:
    """What this process computes on, one of several."""
    return _device


def count() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def number() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def first() -> bool:
    """Whether this process is the one that writes and speaks."""
    return number() == 0


def share(values_N: Tensor) -> Tensor:
    """This process's share of the rows, consecutive ones; shares differ by one row at most."""
    return values_N.tensor_split(count())[number()]


def joined(values_n: Tensor) -> Tensor:
    """All processes' rows, in the order of the processes; they may have different numbers of rows, also none.

    A process without rows may hand over any empty tensor: shape and dtype are those of the others.
    """
    if count() == 1:
        return values_n
    header = torch.zeros(3 + MOST_AXES, dtype=torch.int64)
    facts = [values_n.ndim, values_n.is_cuda, DTYPES.index(values_n.dtype), *values_n.shape]
    header[: len(facts)] = torch.tensor(facts)
    headers = [torch.empty_like(header) for _ in range(count())]
    with talking():
        dist.all_gather(headers, header)
    rows = [int(other[3]) for other in headers]
    if not any(rows):
        return values_n
    axes, on_gpu, dtype, _, *shape = headers[rows.index(max(rows))].tolist()
    padded = torch.zeros(
        max(rows), *shape[: axes - 1], dtype=DTYPES[dtype], device=device() if on_gpu else "cpu"
    )
    if len(values_n):
        padded[: len(values_n)] = values_n
    parts = [torch.empty_like(padded) for _ in rows]
    with talking():
        dist.all_gather(parts, padded)
    return torch.cat([part[:row] for part, row in zip(parts, rows, strict=True)])


def summed(values: Tensor) -> Tensor:
    """The sum over all processes, the same bits in each."""
    if count() == 1:
        return values
    total = values.clone()
    with talking():
        dist.all_reduce(total)
    return total


def largest(value: int) -> int:
    """The largest of the processes' numbers."""
    if count() == 1:
        return value
    most = torch.tensor(value)
    with talking():
        dist.all_reduce(most, dist.ReduceOp.MAX)
    return int(most)


def from_first(value: T) -> T:
    """What the first process has, in all: tensors and plain types, also in lists and dicts. Comes on the CPU."""
    if count() == 1:
        return value
    buffer = io.BytesIO()
    if first():
        torch.save(value, buffer)
    length = torch.tensor(len(buffer.getvalue()))
    with talking():
        dist.broadcast(length, 0)
    content = torch.zeros(int(length), dtype=torch.uint8)
    if first():
        content[:] = torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)
    with talking():
        dist.broadcast(content, 0)
    if first():
        return value
    received: T = torch.load(io.BytesIO(content.numpy().tobytes()), weights_only=True, map_location="cpu")
    return received


@contextmanager
def first_before_others() -> Iterator[None]:
    """The first process goes through the block before the others, as where something is made that all then read."""
    if not first():
        wait()
    yield
    if first():
        wait()


def wait() -> None:
    """Until all processes are here."""
    largest(0)


@contextmanager
def talking() -> Iterator[None]:
    """Where something in the block waits for the other processes: ProcessLost if one of them has ended."""
    if count() == 1:
        yield
        return
    try:
        yield
    except RuntimeError as error:
        if not re.search("gloo|nccl|connection", str(error), re.IGNORECASE):
            raise
        raise ProcessLost(
            f"process {number()} of {count()}, from 0: another process of this run has ended; its own words say "
            "why. Finished rounds are kept: the same command (without --overwrite) goes on from there"
        ) from error
