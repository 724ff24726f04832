"""The report: what it says of made-up experiments, what it refuses, and how a browser shows it."""

import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats

from src.analysis.page import Page
from src.analysis.report import main, make_page, write_report
from src.analysis.sections.density import of_entry
from src.analysis.sections.pairs import compare
from src.analysis.sections.queries import evenness, jaccard
from src.analysis.study_files import read_study
from src.utils.errors import UserError
from tests.analysis.made_up import BY_CLASS, GAUSSIANS, SEARCHED, write_experiment, write_seven
from tests.analysis.written import numbers
from tests.experiments import QUICK, ROOT, run_cli

COMMITTED = ROOT / "experiment_outputs"
EVERYTHING = [
    *("curves", "areas", "labels-needed", "pairs", "calibration"),
    *("classes", "overlap", "dimensions", "likelihoods", "seconds"),
]


def page_of(pattern: str, outputs: Path, levels: list[float] | None = None) -> Page:
    """The page, of which no figure is rendered."""
    return make_page(pattern, read_study(pattern, outputs), levels)


def names(page: Page) -> list[str]:
    return [section.name for section in page.sections]


def said(page: Page) -> str:
    """All its sentences."""
    return " ".join(
        [*page.remarks, *(line for section in page.sections for line in section.text), *page.left_out]
    )


def rows_of(page: Page, name: str) -> list[dict[str, Any]]:
    """The numbers of the table of that name."""
    (table,) = [table for table in page.tables if table.name == name]
    header, *rows = table.numbers
    return [dict(zip(map(str, header), row, strict=True)) for row in rows]


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


def test_report_is_the_same_again(tmp_path: Path) -> None:
    first, second = (write_report("cifar10_*", COMMITTED, tmp_path / name) for name in ("first", "second"))
    assert len(first) == len(second) > 5
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_committed_csvs_alone_leave_out_what_they_do_not_hold() -> None:
    page = page_of("mnist_*", COMMITTED)
    assert names(page) == ["curves", "areas", "labels-needed", "pairs"]
    assert "Pairs are runs with the same number, since CSVs do not hold seeds" in said(page)
    assert len(page.left_out) == 6 and any("Wall-clock time: no records" in line for line in page.left_out)
    assert "3 seeds decide little" in said(page)
    cells = [cell for table in page.tables for row in table.rows for cell in row]
    assert not any("⋆" in cell for cell in cells)
    (row,) = [row for row in rows_of(page, "areas") if (row["method"], row["budget"]) == ("mnist_de", 10_000)]
    assert (row["mean"], row["runs"]) == (pytest.approx(0.9563, abs=1e-4), 3)


def test_segmentations_are_compared_by_miou_with_auroc_beside_it(tmp_path: Path) -> None:
    page = page_of("camvid_*", COMMITTED)
    assert {"miou", "auroc"} <= {table.name for table in page.tables}
    assert page.sections[2].title == "Labels needed for a test mIoU"
    assert "can give is 0.5," in said(page)  # the smallest p of two seeds
    write_seven(tmp_path, dense=True, reliability=False)
    page = page_of("made_*", tmp_path)
    assert names(page) == EVERYTHING
    assert "Classes of the queried pixels" in said(page)


def test_a_method_of_a_csv_alone_is_compared_and_named_as_such(tmp_path: Path) -> None:
    write_experiment(tmp_path, "made_random")
    final = tmp_path / "final_runs"
    final.mkdir()
    (final / "made_hu.csv").write_text(
        "samples,test_accuracy_run1,test_accuracy_run2\n20,0.5,0.5\n30,0.7,0.8\n"
    )
    (final / "made_random.csv").write_text("records are looked at before this\n")
    page = page_of("made_*", tmp_path)
    assert "Of HU there is a CSV alone" in said(page)
    assert "Pairs are runs with the same number" in said(page)
    assert "pairs" in names(page) and "overlap" not in names(page)


def test_rows_of_before_the_bins_were_recorded_have_no_reliability_diagram(tmp_path: Path) -> None:
    write_experiment(tmp_path, "made_random", reliability=False)
    write_experiment(tmp_path, "made_hu", reliability=True)
    for pattern, pictures in (("made_random", ["ece"]), ("made_*", ["ece", "reliability"])):
        page = page_of(pattern, tmp_path)
        (section,) = [section for section in page.sections if section.name == "calibration"]
        assert [picture.name for picture in section.pictures] == pictures
        assert ("No reliability diagram" in said(page)) == (len(pictures) == 1)


def test_experiments_that_run_are_reported_as_far_as_they_are(tmp_path: Path) -> None:
    write_experiment(tmp_path, "made_random", rounds=4)
    folder = write_experiment(tmp_path, "made_hu", rounds=4)
    rounds = (folder / "run_3" / "rounds.jsonl").read_text().splitlines(keepends=True)
    (folder / "run_3" / "rounds.jsonl").write_text("".join(rounds[:2]))  # its queries.npz is ahead
    (tmp_path / "made_knn" / "run_1").mkdir(parents=True)  # not begun
    study = read_study("made_*", tmp_path)
    assert [method.experiment for method in study.methods] == ["made_random", "made_hu"]
    assert [found.test.n for found in compare(study)] == [3, 2, 2]
    assert sorted(study.methods[1].runs[2].queries or {}) == [0, 1]
    assert [row[5] for row in page_of("made_*", tmp_path).overview.rows] == ["4", "2–4"]


def test_one_experiment_of_one_round_is_a_report_too(tmp_path: Path) -> None:
    write_experiment(tmp_path, "made_random", rounds=1, seeds=[3])
    page = page_of("made_random", tmp_path)
    assert "One seed decides nothing" in said(page)
    assert names(page) == ["curves", "calibration", "seconds"]


def test_tables_stop_at_the_budgets_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_experiment(tmp_path, "made_random")
    write_experiment(tmp_path, "made_hu")
    arguments = ["made_*", "--outputs", str(tmp_path), "--out", str(tmp_path / "report")]
    assert main([*arguments, "--budgets", "40", "30"]) == 0
    rows = numbers(tmp_path / "report" / "made" / "areas.csv")
    assert [row["budget"] for row in rows] == ["30", "40"] * 2
    capsys.readouterr()
    assert main([*arguments, "--budgets", "20"]) == 2, "the first round chose nothing"
    assert "such counts are: 30, 40, 50" in capsys.readouterr().err


def test_jaccard_and_evenness_by_hand() -> None:
    assert jaccard(np.array([1, 2, 3]), np.array([3, 2, 9, 8])) == 2 / 5
    assert jaccard(np.array([1]), np.array([2])) == 0
    assert evenness(np.array([5, 5, 5, 5])) == 1
    assert evenness(np.array([7, 0])) == 0
    assert evenness(np.array([1, 2, 3])) == pytest.approx(stats.entropy([1, 2, 3], base=3))


def test_overlap_is_of_the_same_seed_and_round(tmp_path: Path) -> None:
    first = write_experiment(tmp_path, "made_random", rounds=3, seeds=[3, 11])
    second = write_experiment(tmp_path, "made_hu", rounds=3, seeds=[11, 3])
    shutil.copy(first / "run_1" / "queries.npz", second / "run_2" / "queries.npz")  # of seed 3
    rows = rows_of(page_of("made_*", tmp_path), "overlap")
    found = {(row["pair"], row["round"]): row["jaccard"] for row in rows}
    assert found[3, 0] == found[3, 1] == 1
    assert found[11, 0] < 0.5 and found[11, 1] < 0.5


def test_queried_classes_are_the_growth_of_the_balance(whole: Path) -> None:
    outputs = whole.parents[1] / "outputs"
    with np.load(outputs / "made_hu" / "run_1" / "queries.npz") as file:
        expected = np.bincount(file["indices_1"] % 10, minlength=10)
    rows = numbers(whole.with_suffix("") / "class_balance.csv")
    mine = [row for row in rows if (row["method"], row["run"], row["labels"]) == ("made_hu", "1", "30")]
    assert [int(row["queried"]) for row in mine] == expected.tolist()


def test_likelihoods_are_those_of_the_chosen_dimension() -> None:
    found = of_entry(GAUSSIANS)
    assert found and found.gap == 50 / 16
    found = of_entry(SEARCHED)
    assert found and (found.train, found.val, found.gap) == (8, 6, 0.5)
    assert of_entry(BY_CLASS["classes"][1]) is None
    assert of_entry({"bank_per_class": [3]}) is None


def test_reach_names_the_accuracies() -> None:
    rows = rows_of(page_of("mnist_*", COMMITTED, [95.0, 99.9]), "labels_needed")
    mine = [(row["level"], row["labels"]) for row in rows if row["method"] == "mnist_softmax"]
    assert mine == [*[(95.0, 4000)] * 3, *[(99.9, "")] * 3]


def damage_rows(outputs: Path) -> None:
    (outputs / "made_hu" / "run_1" / "rounds.jsonl").write_text('{"round": 0, "lab')


def damage_metrics(outputs: Path) -> None:
    (outputs / "made_hu" / "run_1" / "rounds.jsonl").write_text('{"round": 0, "labelled": 20}\n')


def damage_queries(outputs: Path) -> None:
    (outputs / "made_hu" / "run_1" / "queries.npz").write_bytes(b"PK\x03\x04 nothing")


def damage_config(outputs: Path) -> None:
    (outputs / "made_hu" / "config.yaml").write_text("random_state: {")


def lose_seeds(outputs: Path) -> None:
    (outputs / "made_hu" / "config.yaml").write_text("random_state: [3]\n")


def mix_datasets(outputs: Path) -> None:
    write_experiment(outputs, "made_knn", dataset="cifar10")


def mix_measures(outputs: Path) -> None:
    write_experiment(outputs, "made_knn", dense=True)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_rows, "rounds.jsonl: line 1 is not JSON"),
        (damage_metrics, "no test metrics"),
        (damage_queries, "queries.npz: damaged"),
        (damage_config, "config.yaml: cannot read"),
        (lose_seeds, "random_state has no seed for run 2"),
        (mix_datasets, "made_random (mnist) and made_knn (cifar10) hold different datasets"),
        (mix_measures, "made_random (test accuracy) and made_knn (test mIoU and AUROC"),
    ],
)
def test_what_cannot_be_read_is_one_error(
    damage: Callable[[Path], None], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("made_random", "made_hu"):
        write_experiment(tmp_path, name)
    damage(tmp_path)
    assert main(["made_*", "--outputs", str(tmp_path), "--out", str(tmp_path / "report")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert not (tmp_path / "report").exists()


def test_nothing_that_matches_is_an_error_that_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no experiment in .* matches 'nope_\*'.*--outputs"):
        read_study("nope_*", tmp_path)


def test_names_are_text_and_never_markup(tmp_path: Path) -> None:
    write_experiment(tmp_path, "<b>&_random", rounds=1, seeds=[3])
    page = write_report("<b>*", tmp_path, tmp_path / "report")[0].read_text(encoding="utf-8")
    assert "<b>" not in page and "&lt;b&gt;&amp;_random" in page


def test_records_of_real_runs_are_read(tmp_path: Path) -> None:
    """So that what the tests above make up cannot drift away from what a run leaves."""
    hidden = ("training.heuristic=precomputed", "model.name=MIR", "model.mir_configs.density_model=gmm")
    for name, settings in (
        ("real_softmax", ()),
        ("real_hu", (*hidden, "model.mir_configs.greedy_search=true")),
    ):
        config = tmp_path / f"{name}.yaml"
        config.write_text(QUICK.replace("name: quick", f"name: {name}").replace("runs: 1", "runs: 2"))
        options = [word for setting in settings for word in ("--set", setting)]
        assert run_cli("--config_path", config, "--output_dir", tmp_path, *options).status == 0
    page = page_of("real_*", tmp_path)
    assert names(page) == EVERYTHING
    assert [row[4] for row in page.overview.rows] == ["3, 11"] * 2
    assert {row["labels"] for row in rows_of(page, "reliability")} == {30, 50}
    assert sum(row["inputs"] for row in rows_of(page, "reliability")) == 2 * 2 * 2 * 355


def test_command_line_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cifar10_*", "--outputs", str(COMMITTED), "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"wrote {tmp_path / 'cifar10.html'} and ") and out.endswith(
        f"{tmp_path / 'cifar10'}\n"
    )
    assert "One seed decides nothing" in text_of(tmp_path / "cifar10.html")


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


def test_what_is_not_finished_is_said(tmp_path: Path) -> None:
    write_experiment(tmp_path, "made_random", rounds=3)
    config = tmp_path / "made_random" / "config.yaml"
    asked = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump(asked | {"runs": 4, "training": {"iterations": 5}}))
    (method,) = read_study("made_*", tmp_path).methods
    assert method.unfinished.startswith(f"{len(method.numbers)} of 4 runs")
    for path in tmp_path.glob("made_random/run_*/rounds.jsonl"):
        rows = [json.loads(line) | {"pool": 7} for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (method,) = read_study("made_*", tmp_path).methods
    assert "3 of 5 rounds in run 1" in method.unfinished


def test_several_names_are_one_report(tmp_path: Path) -> None:
    for method in ("random", "hu", "knn"):
        write_experiment(tmp_path, f"made_{method}", rounds=3)
    out = tmp_path / "report"
    assert main(["made_hu", "made_r*", "--outputs", str(tmp_path), "--out", str(out)]) == 0
    assert (out / "made_hu_made_r.html").exists()
    study = read_study("made_hu made_r*", tmp_path)
    assert {method.experiment for method in study.methods} == {"made_hu", "made_random"}


def test_what_may_have_been_meant_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_experiment(tmp_path, "made_random", rounds=3)
    assert main(["made_randon", "--outputs", str(tmp_path)]) == 2
    assert "; near it: made_random; " in capsys.readouterr().err


@pytest.mark.parametrize("levels", [["0", "80"], ["101"]])
def test_levels_that_are_no_percents_are_refused(levels: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["mnist_*", "--reach", *levels])
    assert exit_.value.code == 2
