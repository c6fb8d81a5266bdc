"""What a person has on paper: the LaTeX of a report, and the table of a paper."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from decoderlab.studies.analysis.results import read_rows
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.reporting import render
from decoderlab.studies.reporting.paper_table import paper_table
from tests.browser.chromium import found_program
from tests.unit.studies import study

pytestmark = pytest.mark.browser


def compiled(folder: Path, document: str) -> tuple[str, list[float]]:
    """Compile a document and return its log, and how many points its lines are too wide."""
    found_program("pdflatex", "packages texlive-latex-recommended, -fonts-recommended, -publishers")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"{document}.tex"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=300,
    )
    log = (folder / f"{document}.log").read_text(encoding="utf-8", errors="replace")
    assert done.returncode == 0, log[-3000:]
    assert (folder / f"{document}.pdf").read_bytes().startswith(b"%PDF")
    return log, [
        float(wide) for wide in re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide\)", log)
    ]


def test_the_report_compiles_with_vectors_alone(studied, tmp_path):
    folder = tmp_path / "s"
    shutil.copytree(studied[0] / "studies/s", folder, ignore=shutil.ignore_patterns("tensorboard"))
    log, overfull = compiled(folder, "report")
    assert [width for width in overfull if width > 40] == []
    assert ".png" not in log
    assert not re.search(r"\.\d+pk", log)  # letters of dots


# A column of two in article, in IEEE's class, and of ACL's, which is narrower; a page as wide and
# high as NeurIPS's, in its letters, since no package has its file.
PAPERS = {
    "IEEE": r"\documentclass[conference]{IEEEtran}",
    "two columns": r"\documentclass[10pt,twocolumn]{article}",
    "narrow columns": r"\documentclass[10pt,twocolumn]{article}\textwidth16cm \columnsep0.6cm",
    "page": r"\documentclass[10pt]{article}\usepackage{times}"
    r"\usepackage[letterpaper,textwidth=5.5in,textheight=9in]{geometry}",
}

NEEDED = {"IEEE": "IEEEtran.cls", "page": "ptmr7t.tfm"}


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize(
    ("paper", "rows", "tasks"),
    [
        ("two columns", 8, 1),
        ("narrow columns", 8, 2),
        ("IEEE", 8, 2),
        ("page", 16, 3),
    ],
)
def test_the_table_of_a_paper_fits(tmp_path, paper, rows, tasks, long):
    if file := NEEDED.get(paper):
        kpsewhich = found_program("kpsewhich", "package texlive-binaries")
        if subprocess.run([kpsewhich, file], stdout=subprocess.DEVNULL).returncode:
            pytest.fail(
                f"no {file}: install Debian's texlive-fonts-recommended, texlive-publishers"
            )
    pattern = "encoder.size={} repeat_vector" if long else "v{}"
    names = [pattern.format(300 + row) for row in range(rows)]
    scores = {
        (name, f"task_{task}"): [0.2 + 0.01 * place + 0.002 * seed * place for seed in range(6)]
        for place, name in enumerate(names)
        for task in range(tasks)
    }
    plan = study(tmp_path, scores, number=500, baseline=names[0], minimum_effect=0.02)
    table = paper_table(Analysis(plan, read_rows(plan, tmp_path)))
    text = render.paper_tables(table.groups, table.caption, table.label, table.note)
    (tmp_path / "table.tex").write_text(text)
    (tmp_path / "paper.tex").write_text(
        PAPERS[paper] + r"\usepackage{booktabs}\begin{document}\input{table}\end{document}"
    )
    log, overfull = compiled(tmp_path, "paper")
    assert overfull == []
    assert "too large for page" not in log
    assert text.count(r"\begin{tabular}") == 1
    assert len(re.findall(r"(?:v|size=\\allowbreak\{\})301\b", text)) == tasks
