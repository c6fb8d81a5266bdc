"""The page to explore a study: its numbers are those of the runs, and no text in it acts."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from decoderlab.studies.analysis.curves import share_by_position, validations
from decoderlab.studies.analysis.results import read_rows
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.reporting import explore_data as module
from decoderlab.studies.reporting.build import build_report
from decoderlab.studies.reporting.explore_charts import ERRORS, charts
from decoderlab.studies.reporting.explore_data import explore_data
from decoderlab.studies.reporting.explore_page import explore_page, inert_json, libraries, page
from tests.integration.predictions import CODE, write_predictions, write_steps
from tests.unit.studies import EXAMPLES, signature, study, write

SCORES = {"a": [0.5, 0.6, 0.7], "b": [0.6, "FAILED", 0.9], "c": [0.2, 0.3, 0.4]}


@pytest.fixture
def made(tmp_path):
    plan = study(tmp_path, SCORES, baseline="a", minimum_effect=0.05)
    write_predictions(tmp_path, plan)
    return Analysis(plan, read_rows(plan, tmp_path)), tmp_path


def test_the_scores_are_those_of_the_results(made):
    analysis, folder = made
    data = explore_data(analysis, folder)
    shown = {(data["variants"][one[0]], one[2]): one[3:5] for one in data["runs"]}
    for row in analysis.rows:
        expected = 0.0 if row.failed else row.score("exact_match")
        assert shown[row.cell.variant, row.cell.seed] == [pytest.approx(expected), int(row.failed)]
    assert data["variants"][data["baseline"]] == "a"
    assert (data["margin"], data["seeds"], data["tasks"]) == (0.05, [0, 1, 2], ["echo"])
    # Student's quantile, for the interval that the page draws.
    assert data["t"][2:4] == pytest.approx([12.7062, 4.30265], rel=1e-5)


def test_the_examples_are_sorted_from_easy_to_hard(made, monkeypatch):
    analysis, folder = made
    monkeypatch.setattr(module, "MAX_EXAMPLES", EXAMPLES)
    (examples,) = explore_data(analysis, folder)["examples"]
    assert examples["number"] == EXAMPLES
    assert sorted(examples["rows"]) == list(range(EXAMPLES))
    finished = [row for row in analysis.rows if row.result]
    assert len(examples["right"]) == len(finished)
    for variant, seed, right, of in examples["right"]:
        (row,) = (
            row
            for row in finished
            if (analysis.variants.index(row.cell.variant), row.cell.seed) == (variant, seed)
        )
        assert [bool(one) for one in right] == row.correct()[examples["rows"]].tolist()
        assert of == 1
    by_variant = [
        np.mean([row.correct() for row in finished if row.cell.variant == one], axis=0)
        for one in analysis.variants
    ]
    ease = np.mean(by_variant, axis=0)[examples["rows"]]
    assert all(ease[:-1] >= ease[1:] - 1e-9)
    assert ease[0] > ease[-1]


def test_fewer_examples_are_spaced_evenly(made, monkeypatch):
    analysis, folder = made
    monkeypatch.setattr(module, "MAX_EXAMPLES", EXAMPLES)
    (every,) = explore_data(analysis, folder)["examples"]
    monkeypatch.setattr(module, "MAX_EXAMPLES", 12)
    (few,) = explore_data(analysis, folder)["examples"]
    places = [every["rows"].index(example) for example in few["rows"]]
    assert (places[0], places[-1], len(places)) == (0, EXAMPLES - 1, 12)
    assert {right - left for left, right in zip(places, places[1:], strict=False)} == {9}


def test_what_was_written_stands_with_its_seeds(made):
    analysis, folder = made
    data = explore_data(analysis, folder)
    (examples,) = data["examples"]
    lines = {
        (row.cell.variant, row.cell.seed): [
            json.loads(text)
            for text in row.cell.run_folder(folder).predictions.read_text().splitlines()
        ]
        for row in analysis.rows
        if row.result
    }
    for example, text in zip(examples["rows"], examples["texts"], strict=True):
        assert text["source"] == f"s{example}"
        assert text["targets"] == lines["a", 0][example]["references"]
        said = {
            (data["variants"][variant], seed): (prediction, bool(right))
            for variant, some in text["said"]
            for prediction, right, seeds in some
            for seed in seeds
        }
        assert said == {
            key: (one[example]["prediction"], one[example]["correct"]) for key, one in lines.items()
        }


def test_errors_are_counted_by_their_size(made):
    analysis, folder = made
    data = explore_data(analysis, folder)
    found = {(data["variants"][one[0]], one[2]): one[3:] for one in data["errors"]}
    finished = [row for row in analysis.rows if row.result]
    assert len(found) == len(finished)
    for row in finished:
        wrong = np.flatnonzero(~row.correct()) % 4 + 1  # edits, as `line` says
        expected = [row.correct().sum(), (wrong == 1).sum(), (wrong == 2).sum(), (wrong > 2).sum()]
        assert found[row.cell.variant, row.cell.seed] == expected
        assert sum(expected) == EXAMPLES
    assert len(ERRORS) == 4


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        ({"prediction": "9 2", "tokens": ["9", "2"], "reference_tokens": [["8", "9"]]}, 2),
        ({"prediction": "", "tokens": [], "reference_tokens": [["8"], ["8", "9", "9"]]}, 1),
        ({"prediction": "x y", "references": ["a b c d", "x z"]}, 1),
        ({"prediction": "x z", "correct": True}, 0),
        # Right in tokens, and yet not counted as right: the nearest kind that is not right.
        ({"prediction": "t", "references": ["t"]}, 1),
        ({"prediction": "x y z q", "references": ["t"]}, 3),
    ],
)
def test_edits_are_those_to_the_nearest_target(tmp_path, record, kind):
    plan = study(tmp_path, {"a": [0.5]}, baseline=None)
    whole = {"source": "s", "target": "t", "references": ["t"], "correct": False} | record
    rows = read_rows(plan, tmp_path)
    write_predictions(tmp_path, plan, lambda cell: [whole])
    data = explore_data(Analysis(plan, rows), tmp_path)
    assert [one[3:] for one in data["errors"]] == [[int(index == kind) for index in range(4)]]


def test_curves_are_those_of_the_metrics(made):
    analysis, folder = made
    data = explore_data(analysis, folder)
    (name,) = data["curves"]  # these runs have no training loss
    assert name == "validation"
    finished = [row for row in analysis.rows if row.result]
    assert len(data["curves"][name]) == len(finished)
    for variant, _, seed, updates, values in data["curves"][name]:
        (row,) = (
            row
            for row in finished
            if (row.cell.variant, row.cell.seed) == (data["variants"][variant], seed)
        )
        expected = validations(row.cell.run_folder(folder), "exact_match")
        assert dict(zip(updates, values, strict=True)) == pytest.approx(expected)
    for variant, _, place, free, forced in data["positions"]:
        rows = analysis.by_cell[data["variants"][variant], "echo"]
        for how, value in (("free", free), ("forced", forced)):
            assert value == pytest.approx(share_by_position(rows, how).mean[place - 1], rel=1e-3)


def test_lines_of_one_colour_differ_in_their_strokes(made):
    analysis, folder = made
    data = explore_data(analysis, folder)
    looks = list(zip(data["colours"], map(tuple, data["dashes"]), strict=True))
    assert len({*looks}) == len(looks) == len(data["variants"])
    made_charts = charts(data)
    layers = [*made_charts["learning"]["layer"], made_charts["positions"]["layer"][0]]
    encodings = [layer["encoding"] for layer in layers]
    assert [each["strokeDash"]["scale"]["range"] for each in encodings] == [data["dashes"]] * 3


def test_very_many_runs_are_shown_as_means(made, monkeypatch):
    analysis, folder = made
    monkeypatch.setattr(module, "MAX_SEED_RUNS", 3)
    data = explore_data(analysis, folder)
    assert len(data["runs"]) == 9  # every seed is a dot all the same
    (examples,) = data["examples"]
    expected = {"a": 3, "b": 2, "c": 3}  # a failure has no examples
    assert {data["variants"][variant]: of for variant, _, _, of in examples["right"]} == expected
    for variant, seed, right, _ in examples["right"]:
        rows = analysis.by_cell[data["variants"][variant], "echo"]
        counts = sum(row.correct().astype(int) for row in rows if row.result)
        assert (seed, right) == (None, counts[examples["rows"]].tolist())
    means = {data["variants"][one[0]]: one[2:] for one in data["curves"]["validation"]}
    assert means["a"] == [None, [5, 10], [pytest.approx(0.3), pytest.approx(0.6)]]
    assert "means over seeds" in data["notes"][0]


def test_what_there_is_no_room_for_is_said(made, monkeypatch):
    analysis, folder = made
    monkeypatch.setattr(module, "MAX_READ", 3 * EXAMPLES)
    data = explore_data(analysis, folder)
    assert "predictions are those of 3 of 8 runs, lowest seeds first" in data["notes"][0]
    assert {one[2] for one in data["errors"]} == {0}
    monkeypatch.setattr(module, "MAX_LETTERS", 2000)
    (examples,) = explore_data(analysis, folder)["examples"]
    known = [text is not None for text in examples["texts"]]
    assert any(known)
    assert not all(known)
    assert len(json.dumps(examples["texts"])) < 4000


def test_examples_of_other_data_are_not_mixed_in(tmp_path):
    plan = study(tmp_path, {"a": [0.5, 0.6, 0.7]}, baseline=None)
    rows = [
        replace(row, result=replace(row.result, signature=signature("d9")))
        if row.cell.seed == 1
        else row
        for row in read_rows(plan, tmp_path)
    ]
    data = explore_data(Analysis(plan, rows), tmp_path)
    assert [one[1] for one in data["examples"][0]["right"]] == [0, 2]
    assert "echo: 1 runs have other test examples, which are not shown." in data["notes"]
    assert len({one[5] for one in data["runs"]}) == 2  # so that the page compares none of them


@pytest.mark.parametrize("wrong", [[{"source": 1}], [{}], [{"source": "s", "target": None}]])
def test_records_that_are_none_show_nothing(tmp_path, wrong):
    plan = study(tmp_path, {"a": [0.5]}, baseline=None)
    rows = read_rows(plan, tmp_path)
    write_predictions(tmp_path, plan, lambda cell: wrong)
    data = explore_data(Analysis(plan, rows), tmp_path)
    assert data["errors"] == []
    assert set(data["examples"][0]["texts"]) == {None}


def test_real_values_have_no_right_and_wrong(tmp_path):
    probes = {"by_position": {"number": [2, 2], "free": [1.5, 2.5], "forced": [1.0, 2.0]}}
    probes["summary_influence"] = [0.1, 0.2]
    plan = study(tmp_path, {"a": [0.5]}, baseline=None, result_changes={"probes": probes})
    record = {"source": "1 2", "target": "3", "prediction": "4", "correct": None}
    rows = read_rows(plan, tmp_path)
    write_predictions(tmp_path, plan, lambda cell: [record])
    data = explore_data(Analysis(plan, rows), tmp_path)
    assert (data["errors"], data["examples"][0]["rows"]) == ([], [])
    assert data["positions"] == [[0, 0, 1, 0.75, 0.5], [0, 0, 2, 1.25, 1.0]]


def content(html: str) -> dict:
    (text,) = re.findall(r'<script type="application/json" id="content">(.*?)</script>', html)
    return json.loads(text)


def without_scripts(html: str) -> str:
    return re.sub(r"(?s)<(script|style)>.*?</\1>", "", html)


@pytest.mark.usefixtures("undrawn")
def test_a_report_has_the_page_beside_it_and_the_same_runs_give_the_same_bytes(made):
    analysis, folder = made
    write(analysis.plan, folder)
    build_report(analysis.plan, folder)
    path = folder / "studies/s/explore.html"
    first = path.read_bytes()
    assert content(first.decode())["data"] == json.loads(json.dumps(explore_data(analysis, folder)))
    assert 'href="explore.html"' in (folder / "studies/s/report.html").read_text()
    build_report(analysis.plan, folder)
    assert path.read_bytes() == first
    assert len(first) < 1_200_000
    verdicts = "better|worse|no difference|tie|inconclusive|pilot"
    assert not re.search(rf">[^<]*\b({verdicts})\b", without_scripts(first.decode()))


def test_a_study_without_a_score_has_no_page(tmp_path):
    plan = study(tmp_path, {"a": ["PLANNED"]}, baseline=None)
    write(plan, tmp_path)
    stale = tmp_path / "studies/s/explore.html"
    stale.write_text("old")
    build_report(plan, tmp_path)
    assert not stale.exists()
    assert "explore.html" not in (tmp_path / "studies/s/report.html").read_text()


def test_the_policy_lets_run_what_ships_and_nothing_else(made):
    html = explore_page(*made)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; ")
    scripts = re.findall(r"(?s)<script>(.*?)</script>", html)
    (style,) = re.findall(r"(?s)<style>(.*?)</style>", html)
    assert scripts[:-1] == list(libraries())
    for text in (*scripts, style):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert policy.count("sha256-") == len(scripts) + 1 == 5
    assert not re.search(r'(?:src|href)="(?!report\.html"|#rd-(?:icon-)?\d)', without_scripts(html))
    assert "ast: true" in scripts[-1]
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", scripts[-1])


def test_nothing_that_strangers_wrote_acts(tmp_path):
    plan = study(tmp_path, {"a": [0.5], "b": [0.6]}, baseline=None)
    hostile = {"source": CODE, "target": CODE, "references": [CODE], "prediction": CODE}
    read = read_rows(plan, tmp_path)
    write_predictions(tmp_path, plan, lambda cell: [hostile | {"correct": False}])
    write_steps(tmp_path, plan, CODE)
    cells = tuple(replace(one, task=CODE, variant=f"{one.variant}{CODE}") for one in plan.cells)
    named = replace(plan, cells=cells, study=replace(plan.study, question=CODE, name="s"))
    rows = [replace(row, cell=cell) for row, cell in zip(read, cells, strict=True)]
    html = explore_page(Analysis(named, rows), tmp_path)
    plain = explore_page(Analysis(plan, read), tmp_path)
    tags = [re.findall(r"<[^>]*>", without_scripts(one)) for one in (html, plain)]
    policy = [next(one for one in some if "Policy" in one) for some in tags]
    assert tags[0] == tags[1]
    assert policy[0] == policy[1]  # the scripts and the style are the same
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", without_scripts(html))
    shown = content(html)["data"]
    assert all("\x1b" not in name and "\\x1b" in name for name in shown["variants"])
    (text,) = (one for one in shown["examples"][0]["texts"] if one)
    assert text["said"][0][1][0][0].startswith("</script><script>alert(1)")
    assert shown["steps"][0][0]["source"][0].startswith("</script><script>alert(1)")


def test_steps_are_those_that_the_first_seeds_recorded(made):
    analysis, folder = made
    assert explore_data(analysis, folder)["steps"] == [[]]
    write_steps(folder, analysis.plan)
    (steps,) = explore_data(analysis, folder)["steps"]
    assert [one["row"] for one in steps] == [0, 7]
    assert steps[0]["source"] == ["A", "2", "3"]
    assert [one[:2] for one in steps[0]["said"]] == [[0, 0], [1, 0], [2, 0]]
    assert steps[0]["said"][0][2:] == [
        ["A", "<eos>"],
        [[["A", 0.75], ["B", 0.125]], [["A", 0.5], ["B", 0.25]]],
        [[50, 25, 25], [0, 0, 100]],
        [[0.5, 0.25, None], [0.1, 0.2, 0.3]],
    ]
    assert steps[1]["said"][0][2:4] == [["<eos>"], [[["<eos>", 0.75], ["B", 0.125]]]]


def test_examples_step_by_step_end_where_there_is_no_room(made, monkeypatch):
    analysis, folder = made
    write_steps(folder, analysis.plan)
    monkeypatch.setattr(module, "MAX_STEP_LETTERS", 500)
    (steps,) = explore_data(analysis, folder)["steps"]
    assert [one["row"] for one in steps] == [0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"step_best": np.array(['["A"]'] * 2)},
        {"step_leaning": np.zeros((2, 2, 2))},
        {"step_leaning": np.zeros((2, 0, 3))},
        {"step_probability": np.zeros((2, 0, 2))},
        {"step_written": np.array([json.dumps(["A"] * 99)] * 2)},
    ],
)
def test_steps_that_do_not_fit_each_other_are_left_out(made, wrong):
    analysis, folder = made
    write_steps(folder, analysis.plan)
    for row in analysis.rows:
        path = row.cell.run_folder(folder).probes
        if row.result:
            np.savez(path, **(dict(np.load(path)) | wrong))
    assert explore_data(analysis, folder)["steps"] == [[]]


@pytest.mark.parametrize("text", [CODE, "<!--", "]]>", "\u2028", "é漢", "&lt;"])
def test_inert_json_is_json_and_no_tag(text):
    made = inert_json({text: [text]})
    assert json.loads(made) == {text: [text]}
    assert not re.search("[<>&\u2028\u2029]", made)


def test_a_page_of_ten_thousand_runs_has_three_megabytes():
    variants, tasks, seeds, examples = 250, 4, 10, module.MAX_EXAMPLES
    cells = [(variant, task) for variant in range(variants) for task in range(tasks)]
    text = {"source": "s" * 40, "targets": ["t" * 40], "said": []}
    room = module.MAX_LETTERS // tasks // examples
    text["said"] = [[0, [["p" * (room - 150), 0, list(range(seeds))]]]]
    data = {
        "study": "s", "question": "?", "metric": "exact match", "margin": 0.02, "most": 1.0,
        "baseline": 0, "variants": [f"decoder=variant {one}" for one in range(variants)],
        "colours": ["#0072B2"] * variants, "dashes": [[1, 0]] * variants, "shown": list(range(16)),
        "tasks": [f"task {one}" for one in range(tasks)], "seeds": list(range(seeds)),
        "t": [1.123456] * 100, "notes": [], "steps": [[]] * tasks,
        "runs": [[*cell, seed, 0.12345678, 0, 1000] for cell in cells for seed in range(seeds)],
        "curves": {
            name: [
                [*cell, None, list(range(1000, 1000 + module.MAX_POINTS // 3)),
                 [0.1234] * (module.MAX_POINTS // 3)]
                for cell in cells
            ]
            for name in ("training loss", "validation")
        },
        "positions": [[*cell, place, 0.1234, 0.1234] for cell in cells for place in range(30)],
        "errors": [[*cell, 0, 1000, 100, 100, 100] for cell in cells],
        "examples": [
            {"number": 2000, "rows": list(range(1000, 1000 + examples)), "texts": [text] * examples,
             "right": [[variant, None, [10] * examples, 10] for variant in range(variants)]}
        ] * tasks,
    }  # fmt: skip
    assert len(page(data).encode()) < 3_000_000
