"""The files of a report: the page stands alone in a browser, figures and tables lie beside it, and they are the same
again."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.analysis.report import main, write_report
from src.analysis.study_files import read_study
from tests.analysis.made_up import EVERYTHING, write_experiment, write_seven
from tests.analysis.written import numbers
from tests.experiments import SHIPPED_OUTPUTS


def text_of(page: Path) -> str:
    """What a reader reads, in one line."""
    found: list[str] = []

    class Parser(HTMLParser):
        def handle_data(self, data: str) -> None:
            if self.lasttag not in ("style", "title"):
                found.append(data)

    Parser().feed(page.read_text(encoding="utf-8"))
    return " ".join(" ".join(found).split())


def sections(page: Path) -> list[str]:
    return re.findall(r'<section id="([\w-]+)">', page.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of seven methods with all that a report can show."""
    folder = tmp_path_factory.mktemp("whole")
    write_seven(folder / "outputs")
    return write_report("made_*", folder / "outputs", folder / "report")[0]


def test_whole_records_leave_nothing_out(whole: Path) -> None:
    assert sections(whole) == EVERYTHING
    text = text_of(whole)
    assert "Pairs are runs with the same seed" in text
    assert "3, 11, 42" in text
    assert "3 seeds decide little" in text and "is 0.25" in text
    assert "⋆" not in text


def test_figures_and_tables_lie_beside_the_page(whole: Path) -> None:
    page, folder = whole.read_text(encoding="utf-8"), whole.with_suffix("")
    stems = {
        suffix: {path.stem for path in folder.glob(f"*.{suffix}")} for suffix in ("png", "pdf", "csv", "tex")
    }
    assert len(stems["png"]) == page.count("<img ") >= 10
    assert len(stems["csv"]) == page.count("<table>") >= 11
    assert stems["png"] == stems["pdf"] and stems["csv"] == stems["tex"]
    assert all(path.read_bytes().startswith(b"%PDF") for path in folder.glob("*.pdf"))


def test_latex_has_a_cell_for_each_column_and_nothing_unescaped(whole: Path) -> None:
    for path in whole.with_suffix("").glob("*.tex"):
        tex = path.read_text()
        columns = re.search(r"\\begin\{tabular\}\{(l(r*))\}", tex)
        rows = [line for line in tex.splitlines() if line.endswith(r"\\")]
        assert columns and len(rows) >= 2
        for row in rows:
            assert len(re.findall(r"(?<!\\)&", row)) == len(columns[2]), row
            assert not re.search(r"(?<!\\)[%#_]", row), row
        assert tex.isascii(), path


def test_queried_classes_are_the_growth_of_the_balance(whole: Path) -> None:
    outputs = whole.parents[1] / "outputs"
    with np.load(outputs / "made_hu" / "run_1" / "queries.npz") as file:
        expected = np.bincount(file["indices_1"] % 10, minlength=10)
    rows = numbers(whole.with_suffix("") / "class_balance.csv")
    mine = [row for row in rows if (row["method"], row["run"], row["labels"]) == ("made_hu", "1", "30")]
    assert [int(row["queried"]) for row in mine] == expected.tolist()


def test_report_is_the_same_again(tmp_path: Path) -> None:
    first, second = (
        write_report("cifar10_*", SHIPPED_OUTPUTS, tmp_path / name) for name in ("first", "second")
    )
    assert len(first) == len(second) > 5
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_names_are_text_and_never_markup(tmp_path: Path) -> None:
    write_experiment(tmp_path, "<b>&_random", rounds=1, seeds=[3])
    page = write_report("<b>*", tmp_path, tmp_path / "report")[0].read_text(encoding="utf-8")
    assert "<b>" not in page and "&lt;b&gt;&amp;_random" in page


def test_command_line_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cifar10_*", "--outputs", str(SHIPPED_OUTPUTS), "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"wrote {tmp_path / 'cifar10.html'} and ") and out.endswith(
        f"{tmp_path / 'cifar10'}\n"
    )
    assert "One seed decides nothing" in text_of(tmp_path / "cifar10.html")


def test_several_names_are_one_report(tmp_path: Path) -> None:
    for method in ("random", "hu", "knn"):
        write_experiment(tmp_path, f"made_{method}", rounds=3)
    out = tmp_path / "report"
    assert main(["made_hu", "made_r*", "--outputs", str(tmp_path), "--out", str(out)]) == 0
    assert (out / "made_hu_made_r.html").exists()
    study = read_study("made_hu made_r*", tmp_path)
    assert {method.experiment for method in study.methods} == {"made_hu", "made_random"}


@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_the_page_alone_and_whole(width: int, whole: Path, browser: Any) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    complaints, asked = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(whole.as_uri(), wait_until="load")
    assert complaints == []
    assert [url for url in asked if not url.startswith("data:")] == [whole.as_uri()]
    images = page.evaluate(
        "[...document.images].map(i => ({alt: i.alt, natural: i.naturalWidth, box: i.getBoundingClientRect()"
        ".toJSON()}))"
    )
    assert len(images) >= 10
    for image in images:
        assert len(image["alt"]) > 20
        assert image["natural"] > 300 and image["box"]["width"] > 300 and image["box"]["height"] > 100
    # What is wider than the window scrolls in a box of its own.
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    boxes = page.evaluate(
        "[...document.querySelectorAll('.scroll')].map(b => [b.clientWidth, b.scrollWidth])"
    )
    assert all(0 < shown <= width for shown, _ in boxes)
    if width == 390:
        assert any(content > shown for shown, content in boxes)
    for link in page.locator("nav a").all():
        target = (link.get_attribute("href") or "").removeprefix("#")
        assert page.locator(f"[id='{target}'] h2").inner_text() == link.inner_text()
    page.close()
