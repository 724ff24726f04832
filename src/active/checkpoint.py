"""A round that was stopped in its midst, on disk: its training as far as it came. Rounds that are over are in
``utils.records``, which knows nothing of this."""

import hashlib
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from src.config import Config, what_counts
from src.models.training import Training
from src.utils import processes
from src.utils.files import write_atomically
from src.utils.seeding import RoundSeeds
from src.utils.stopping import Stopped, check

STATE_VERSION = 1


class Checkpoint:
    """``training.pt`` in a run's folder, of one round under one config, seed, dataset and kind of device. Others' are
    not taken up."""

    def __init__(
        self, folder: Path, seeds: RoundSeeds, config: Config, data: str, device: torch.device
    ) -> None:
        self.path = folder / "training.pt"
        self.round_ = seeds.round_
        # A GPU's generators have other states than a CPU's, and its networks other weights.
        made_with = f"{device.type}\n{seeds.run_seed}\n{data}\n{what_counts(config)}"
        self._made_with = hashlib.sha256(made_with.encode()).hexdigest()
        self._training: Training | None = None

    def take_up(self, training: Training) -> None:
        """Let the round's training go on where it was stopped, if it was, and know it from now on."""
        state = processes.from_first(self._read() if processes.first() else None)
        if state is not None:
            training.load(state)
        self._training = training

    @contextmanager
    def kept_on_stop(self) -> Iterator[None]:
        """If the block is stopped, write what ``take_up`` of a later process needs; if it ends, that is done with."""
        try:
            try:
                yield
            except processes.ProcessLost:
                check()  # all were asked to stop, and the other was faster
                raise
        except Stopped:
            self._write()
            raise
        if processes.first():
            self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        training = self._training.state() if self._training is not None else None
        if training is None or not processes.first():
            return
        buffer = io.BytesIO()
        state = {
            "version": STATE_VERSION,
            "round": self.round_,
            "made_with": self._made_with,
            "training": training,
        }
        torch.save(state, buffer)
        write_atomically(self.path, buffer.getbuffer())

    def _read(self) -> dict[str, Any] | None:
        if not self.path.exists():
            return None
        try:
            state = torch.load(self.path, weights_only=True, map_location="cpu")
            facts = (state["version"], state["round"], state["made_with"])
            training: dict[str, Any] = state["training"]
        except Exception as error:  # torch.load raises many kinds for a damaged file
            print(f"{self.path}: damaged ({type(error).__name__}); the round starts anew", file=sys.stderr)
            return None
        return training if facts == (STATE_VERSION, self.round_, self._made_with) else None
