"""Pages of a report, of which no figure is rendered, and what their tables say."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from src.analysis.page import Page
from src.analysis.report import make_page
from src.analysis.study_files import read_study


def page_of(
    pattern: str, outputs: Path, levels: list[float] | None = None, budgets: Sequence[int] = ()
) -> Page:
    return make_page(pattern, read_study(pattern, outputs, budgets), levels)


def table(page: Page, name: str) -> dict[str, list[str]]:
    """What people read, by the row's first cell; the header under "header"."""
    (found,) = [table for table in page.tables if table.name == name]
    return {"header": list(found.header[1:])} | {row[0]: list(row[1:]) for row in found.rows}


def rows_of(page: Page, name: str) -> list[dict[str, Any]]:
    """The numbers of the table of that name."""
    (found,) = [table for table in page.tables if table.name == name]
    header, *rows = found.numbers
    return [dict(zip(map(str, header), row, strict=True)) for row in rows]


def said(page: Page) -> str:
    """All its sentences."""
    return " ".join(
        [*page.remarks, *(line for section in page.sections for line in section.text), *page.left_out]
    )
