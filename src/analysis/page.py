"""The report's parts, and how they reach the disk: one HTML page, figures as PDF and PNG, tables as CSV and LaTeX.
What they say is the matter of ``sections/``."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import jinja2
from matplotlib.figure import Figure

from src.analysis.figures import save_numbers
from src.utils.files import write_atomically

LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {
        "±": r"$\pm$",
        "−": "$-$",
        "–": "--",
        "×": r"$\times$",
        "<": "$<$",
        ">": "$>$",
        "≤": r"$\leq$",
        "⋆": r"$\star$",
    }
)
"""What LaTeX reads otherwise, or its plain fonts lack."""


@dataclass(frozen=True)
class Picture:
    """A figure; ``name`` is that of its files, and ``alt`` says what it shows to one who cannot see it."""

    name: str
    caption: str
    alt: str
    figure: Figure

    @cached_property
    def png(self) -> bytes:
        """It as a PNG."""
        return self._rendered("png")

    @property
    def pdf(self) -> bytes:
        """It as a PDF, without a date: the same figure gives the same file."""
        return self._rendered("pdf")

    @property
    def data_uri(self) -> str:
        """The PNG as an address that holds it."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"

    @property
    def width(self) -> float:
        """In inches."""
        return float(self.figure.get_size_inches()[0])

    def _rendered(self, kind: str) -> bytes:
        file = io.BytesIO()
        if self.figure.get_layout_engine() is not None:
            # Laid out once, rather than for each kind of file.
            self.figure.draw_without_rendering()
            self.figure.set_layout_engine("none")
        self.figure.savefig(
            file, format=kind, dpi=150, metadata={"CreationDate": None} if kind == "pdf" else None
        )
        return file.getvalue()


@dataclass(frozen=True)
class Table:
    """A table for people, and its ``numbers``, a header and rows that programs read; the first column heads a row."""

    name: str
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Sequence[Sequence[object]]

    def latex(self, report: str) -> str:
        """It as a ``table`` environment, for the package booktabs; its label is that of no other report's."""
        lines = [
            "% needs \\usepackage{booktabs}",
            "\\begin{table}",
            "\\centering",
            f"\\caption{{{self.caption.translate(LATEX)}}}",
            f"\\label{{tab:{report}:{self.name}}}",
            f"\\begin{{tabular}}{{l{'r' * (len(self.header) - 1)}}}",
            "\\toprule",
            _latex_row(self.header),
            "\\midrule",
            *map(_latex_row, self.rows),
            "\\bottomrule",
            "\\end{tabular}",
            "\\end{table}",
        ]
        return "\n".join(lines) + "\n"


@dataclass
class Section:
    """A part of the page with a title, in the order: text, pictures, tables."""

    name: str
    title: str
    text: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


class LeftOut(Exception):
    """A section cannot be made of what there is; the message says in a line what is missing."""


@dataclass(frozen=True)
class Page:
    """All that a report says. ``left_out`` has a line for each section that could not be made."""

    title: str
    overview: Table
    remarks: Sequence[str]
    sections: Sequence[Section]
    left_out: Sequence[str]

    @property
    def tables(self) -> list[Table]:
        """All of them."""
        return [self.overview, *(table for section in self.sections for table in section.tables)]


def write_page(path: Path, page: Page) -> list[Path]:
    """Write the page to ``path``, and its figures and tables into the folder beside it that has its name.

    Returns all paths, the page's first. Every file is replaced whole; UserError where the system will not write.
    """
    folder = path.with_suffix("")
    written = [path]
    for section in page.sections:
        for picture in section.pictures:
            for suffix, content in (("png", picture.png), ("pdf", picture.pdf)):
                written.append(folder / f"{picture.name}.{suffix}")
                write_atomically(written[-1], content)
    for table in page.tables:
        written += [folder / f"{table.name}.csv", folder / f"{table.name}.tex"]
        save_numbers(table.numbers, written[-2])
        write_atomically(written[-1], table.latex(path.stem).encode())
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("page.html").render(page=page, folder=folder.name)
    write_atomically(path, text.encode())
    return written


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cell.translate(LATEX) for cell in cells) + r" \\"
