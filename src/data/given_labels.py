"""Labels that a person gives to images which come without: ``labels.csv`` beside the images, the whole history.
Which labels are asked for, and when, is the loop's affair (``active.oracle``)."""

import csv
import fcntl
import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor

from src.utils.errors import UserError
from src.utils.files import remove_leftovers, write_atomically

UNKNOWN = -1
"""The label of an image that has none yet."""
COLUMNS = ("path", "label", "asked_by", "time")
TOLD = 10
"""Of problems in a file, or classes of a dataset, how many an error names."""

Row = dict[str, str]


class GivenLabels:
    """The labels given so far to the images of one folder, which all runs and experiments on it share.

    ``names`` are the paths of all images below the folder, training before test; an image's index is its position
    there. ``came_labelled`` says of each whether its folder tells its class.
    """

    def __init__(
        self, folder: Path, names: Sequence[str], came_labelled: Sequence[bool], class_names: Sequence[str]
    ) -> None:
        self.folder, self.names, self.class_names = folder, names, class_names
        self.came_labelled_N = torch.tensor(came_labelled, dtype=torch.bool)
        self.path = folder / "labels.csv"
        self._index_of = {
            name: at for at, (name, known) in enumerate(zip(names, came_labelled, strict=True)) if not known
        }

    def read(self) -> dict[int, int]:
        """The class by index of every image that was given a label; of several the last counts.

        Rows of images that are no longer here, or lie in a class folder by now, are history. UserError, with the line,
        where the file is damaged.
        """
        if not self.path.exists():
            return {}
        _, _, rows = read_table(self.path, ("path", "label"))
        labels = {}
        for line, row in rows:
            if row["path"] not in self._index_of:
                continue
            class_ = self.class_of(row["label"])
            if class_ is None:
                raise UserError(
                    f"{self.path}:{line}: {self.not_a_class(row['label'])}; mend or remove the line"
                )
            labels[self._index_of[row["path"]]] = class_
        return labels

    def keep(self, labels: Mapping[int, int], asked_by: str) -> None:
        """Append a class to each of these indices; on disk when this returns. UserError where it cannot be."""
        time = datetime.now(UTC).isoformat(timespec="seconds")
        added = [
            {"path": self.names[at], "label": self.class_names[class_], "asked_by": asked_by, "time": time}
            for at, class_ in labels.items()
        ]
        try:
            # Runs side by side share the file.
            with open(self.folder / ".labels.lock", "a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                remove_leftovers(self.folder)
                text, columns, delimiter = "", [*COLUMNS], ","
                self._refuse_contradictions(labels)
                if self.path.exists():
                    columns, delimiter, _ = read_table(self.path, ("path", "label"))
                    text = self.path.read_bytes().decode(errors="surrogateescape")
                    text += "" if text.endswith("\n") else "\n"
                text += table(added, columns, header=not text, delimiter=delimiter)
                write_atomically(self.path, text.encode(errors="surrogateescape"))
        except OSError as error:
            raise UserError(
                f"{self.path}: cannot write ({error.strerror}); labels are kept beside the images, so make that folder "
                "writable, then run again"
            ) from error

    def _refuse_contradictions(self, labels: Mapping[int, int]) -> None:
        """UserError where another run has kept another class since these were compared with what is there."""
        known = self.read()
        for at, class_ in labels.items():
            if known.get(at, class_) != class_:
                raise UserError(
                    f"{self.path} has had {self.class_names[known[at]]!r} for index {at}, {self.names[at]!r}, since a "
                    f"moment ago, and not {self.class_names[class_]!r}; make them agree and run the same command again"
                )

    def class_of(self, text: str) -> int | None:
        """The class of that name or, where there is no such name, of that number; None where there is neither."""
        if text in self.class_names:  # as it was kept; folders' names may begin or end with a space
            return self.class_names.index(text)
        text, names = text.strip(), [name.strip() for name in self.class_names]
        if names.count(text) == 1:
            return names.index(text)
        if text.isascii() and text.isdigit() and len(text) < 10 and int(text) < len(self.class_names):
            return int(text)
        return None

    def not_a_class(self, text: str) -> str:
        """That the text is no class, and which there are."""
        named = ", ".join(f"{at} {name}" for at, name in enumerate(self.class_names[:TOLD]))
        more = ", …" * (len(self.class_names) > TOLD)
        return f"label {text[:60]!r} is no class of {named}{more}"


def with_given(labels_N: Tensor, given: Mapping[int, int]) -> Tensor:
    """New labels_N that have a class at each of the given indices."""
    labelled_N = labels_N.clone()
    if given:
        labels = torch.tensor(list(given.values()), device=labels_N.device)
        labelled_N[torch.tensor(list(given), device=labels_N.device)] = labels
    return labelled_N


def table(
    rows: Sequence[Mapping[str, str]], columns: Sequence[str], header: bool, delimiter: str = ","
) -> str:
    """The rows as CSV; cells of other columns are left out, and those that a row lacks are empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n", delimiter=delimiter)
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def read_table(path: Path, needed: Sequence[str]) -> tuple[list[str], str, list[tuple[int, Row]]]:
    """Columns, delimiter and (line, row) for each row of a CSV, as spreadsheets write them: with commas or semicolons.

    UserError, with the line, where it is no such file, lacks a column that is needed, or has two of one name.
    """
    try:
        # File names need not be text, and are to come back as they were written.
        text = path.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise UserError(f"{path}: cannot read ({error.strerror}); mend permissions") from error
    first_line = next(iter(text.splitlines()), "")
    delimiter = ";" if ";" in first_line and "," not in first_line else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[tuple[int, Row]] = []
    try:
        header = [name.strip() for name in next(reader, [])]
        for name in [*needed, *header]:
            if header.count(name) != 1:
                raise UserError(
                    f"{path}:1: {header.count(name)} columns are called {name[:60]!r}; save it as CSV in UTF-8, with a "
                    f"header that names {', '.join(needed)} once"
                )
        for cells in reader:
            if len(cells) not in (0, len(header)):
                raise UserError(
                    f"{path}:{reader.line_num}: {len(cells)} cells, and the header has {len(header)}; mend the line"
                )
            if any(cells):
                rows.append((reader.line_num, dict(zip(header, cells, strict=True))))
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: not CSV ({error}); mend the line") from error
    return header, delimiter, rows
