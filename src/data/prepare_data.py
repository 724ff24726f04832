"""Train ids from the label ids of Cityscapes, and back, in files beside them: a script of its own.

    python3 src/data/prepare_data.py <root>/gtFine/              *_gtFine_labelIds.png → *_gtFine_trainIds.png
    python3 src/data/prepare_data.py <predictions>/ --reverse    *_trainIds.png → *_labelIds.png, to hand in

What is there and newer than its source is left as it is, so that a run which was stopped is finished by the next. What
one that was killed had half written is removed.
"""

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from pathlib import Path

if __name__ == "__main__":
    # Python puts a script's own folder first, where it finds this project's modules under no or a stranger's name.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tqdm import tqdm

from src.data.cityscapes_labels import ID_OF_TRAIN_ID, TRAIN_ID_OF_ID
from src.data.label_images import id_table, read_mask
from src.utils.errors import UserError
from src.utils.files import remove_leftovers, replacing

IDS, TRAIN_IDS = "_labelIds.png", "_trainIds.png"
GROUND_TRUTH = ("_gtFine", "_gtCoarse")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(
        description="Write the train ids of Cityscapes beside its label ids.", allow_abbrev=False
    )
    parser.add_argument("folder", type=Path, help="searched with all folders below it, as <root>/gtFine/")
    parser.add_argument(
        "--reverse", action="store_true", help="label ids beside predicted train ids, for a submission"
    )
    options = parser.parse_args(arguments)
    try:
        written, there = convert(options.folder, options.reverse)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from there", file=sys.stderr)
        return 130
    print(f"{written} written, {there} were there already")
    return 0


def convert(folder: Path, reverse: bool = False) -> tuple[int, int]:
    """Convert what is not converted yet: how many files were written, and how many were there and up to date.

    Raises UserError, naming the file, where one is damaged, holds other ids or cannot be written; where there is
    none; and where label ids that are ground truth would be written over.
    """
    source, target = (TRAIN_IDS, IDS) if reverse else ("_gtFine" + IDS, "_gtFine" + TRAIN_IDS)
    # Unlike rglob it follows links to the folders of cities.
    sources = sorted(folder / path for path in glob(f"**/*{source}", root_dir=folder, recursive=True))
    if not sources:
        raise UserError(f"{folder} holds no *{source}, in it or below; point to the folder that does")
    if reverse:
        for path in sources:
            if path.name.removesuffix(source).endswith(GROUND_TRUTH):
                raise UserError(
                    f"{path} is ground truth, whose label ids would be lost; point to a folder of predictions"
                )
    table_256 = id_table(ID_OF_TRAIN_ID if reverse else TRAIN_ID_OF_ID)
    pairs = [(path, path.with_name(path.name.removesuffix(source) + target)) for path in sources]
    waiting = [(path, beside) for path, beside in pairs if not _is_current(path, beside)]
    for beside in {path.parent for _, path in pairs}:
        remove_leftovers(beside)

    def one(pair: tuple[Path, Path]) -> None:
        from PIL import Image

        path, beside = pair
        image = Image.fromarray(read_mask(path, table_256))
        try:
            with replacing(beside) as file:
                image.save(file, "PNG")
        except OSError as error:
            raise UserError(
                f"{beside}: cannot write ({error.strerror}); free space or mend permissions, then run again"
            ) from None

    executor = ThreadPoolExecutor()  # PIL lets other threads run while it decodes and encodes
    try:
        for _ in tqdm(executor.map(one, waiting), total=len(waiting), unit="image", disable=None):
            pass
    finally:
        executor.shutdown(cancel_futures=True)
    return len(waiting), len(pairs) - len(waiting)


def _is_current(path: Path, beside: Path) -> bool:
    try:
        return beside.stat().st_mtime_ns >= path.stat().st_mtime_ns
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    sys.exit(main())
