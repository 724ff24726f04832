"""What trackers have written, read back."""

import json
import struct
from pathlib import Path

BLOCK, HEADER = 2**15, 7


def tensorboard_scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of each tag as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


def wandb_history(file: Path) -> list[dict[str, float]]:
    """The points of an offline run's .wandb file, each with its ``_step``.

    That is a log of LevelDB's kind: blocks of 32 KiB that hold records, whole (type 1) or in parts (2, 3 …, 4).
    """
    from wandb.proto.wandb_internal_pb2 import Record

    content, start, whole, points = file.read_bytes(), HEADER, b"", []
    assert content.startswith(b":W&B")
    while start + HEADER <= len(content):
        if BLOCK - start % BLOCK < HEADER:
            start += BLOCK - start % BLOCK
            continue
        length, kind = struct.unpack("<HB", content[start + 4 : start + HEADER])
        if kind == 0:
            break
        whole += content[start + HEADER : start + HEADER + length]
        start += HEADER + length
        if kind in (1, 4):
            record = Record()
            record.ParseFromString(whole)
            whole = b""
            if record.HasField("history"):
                items = {item.key or item.nested_key[0]: item for item in record.history.item}
                points.append({name: json.loads(item.value_json) for name, item in items.items()})
    return points
