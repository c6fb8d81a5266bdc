"""Records that a stranger has made up and sealed: a message, and no time or memory without end."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from decoderlab.common.bounded_reading import parse_json
from decoderlab.common.errors import Invalid
from decoderlab.data.packed_outcomes import unpack
from decoderlab.records.run_folder import RunFolder
from decoderlab.records.run_result import RunResult
from decoderlab.studies.analysis import curves
from decoderlab.studies.design.plan_file import StudyCell
from decoderlab.studies.reporting.explore_predictions import read_written
from decoderlab.studies.reporting.prediction_marks import marked_pieces
from decoderlab.training import probes
from tests.unit.studies import result, signature

pytestmark = pytest.mark.fault(54)
POSITIONS = {"number": [2, 1], "free": [1, 1], "forced": [2, 1]}
WHOLE = {
    "correct": "80" * 13,
    "by_length": {"1": [2, 1]},
    "by_position": POSITIONS,
    "summary_influence": [0.1, 0.2],
}


def of_probes(**values: Any) -> Callable[[dict], object]:
    return lambda record: record.update(probes=WHOLE | values)


def of_signature(text: str) -> Callable[[dict], object]:
    return lambda record: record.update(signature=text)


FORGED = {
    "a length in other digits": of_probes(by_length={"\u00b2": [1, 1]}),
    "a length of many digits": of_probes(by_length={"9" * 5000: [1, 1]}),
    "a length that is no length": of_probes(by_length={"9" * 20: [1, 1]}),
    "more influences than positions": of_probes(summary_influence=[0.1] * 3),
    "influences without positions": of_probes(
        by_position={name: [] for name in POSITIONS}, summary_influence=[0.1]
    ),
    "positions beyond any target": of_probes(
        by_position=dict.fromkeys(POSITIONS, [1] * 100_001), summary_influence=[]
    ),
    "positions that are no list": of_probes(by_position=POSITIONS | {"number": {"1": 1}}),
    "a part without a colon": of_signature(signature() + "|x"),
    "a part twice": of_signature("n:5|" + signature()),
    "more examples than there can be": of_signature(signature(number=10**8 + 1)),
    "examples in other digits": of_signature(signature().replace("n:100", "n:\u0661")),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_result_that_contradicts_itself_is_refused(name):
    record = json.loads(json.dumps(result(0.5) | {"probes": WHOLE}))
    assert RunResult.from_dict(record).probes == WHOLE
    FORGED[name](record)
    with pytest.raises(ValueError, match="signature is|probes.*is not what a run counts"):
        RunResult.from_dict(record)


@pytest.mark.parametrize("number", ["1" * 301, "-" + "9" * 4000, "9" * 5000])
def test_a_number_that_no_float_is_as_large_as_is_refused(tmp_path, number):
    with pytest.raises(Invalid, match="digits"):
        parse_json(f'{{"seconds": {number}}}', tmp_path / "metrics.jsonl")
    text = f'{{"prediction": "{number}", "seconds": {number[:200]}}}'
    assert parse_json(text, tmp_path)["seconds"] == int(number[:200])


def test_outcomes_of_other_examples_are_not_made_up():
    assert unpack({"correct": "80"}, 8) is not None
    assert unpack({"correct": "80"}, 10**8) is None


@pytest.mark.parametrize(
    ("step", "score"), [(2**63, 0.5), (-1, 0.5), (10**299, 0.5), (1, 1e308), (1, -(10**299))]
)
def test_what_no_picture_can_have_is_left_out(tmp_path, step, score):
    lines = [{"step": 1, "validation/x": 0.5}, {"step": 2, "validation/x": 0.25}]
    lines.append({"step": step, "validation/x": score})
    folder = RunFolder(tmp_path)
    folder.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert curves.validations(folder, "x") == {1: 0.5, 2: 0.25}


def test_a_curve_has_no_more_points_than_can_be_seen():
    curve = curves._curve({position: [0.5] for position in range(100_000)})
    assert len(curve.positions) == len(curve.mean) == curves.MOST_POINTS
    assert (curve.positions[0], curve.positions[-1]) == (0, 99_999)


@pytest.mark.parametrize("between", ["", " "])
def test_long_texts_are_not_compared_piece_by_piece(tmp_path, between):
    """Letter by letter a machine's whole memory would not do."""
    target, written = between.join("abc" * 500_000), between.join("bacd" * 500_000)
    assert marked_pieces(target, written) == [("substitute", written, target)]
    assert marked_pieces(target, target) == [("same", target, target)]
    folder = RunFolder(tmp_path)
    line = {"source": "", "target": target, "prediction": written, "correct": False}
    folder.predictions.write_text(json.dumps(line) + "\n")
    assert read_written(folder).edits == ((0, 0, 0, 1) if between else (0, 1, 0, 0))


@pytest.mark.parametrize(("written", "edits"), [("a b c", 1), ("b a", 2), ("x y z", 3)])
def test_edits_are_counted_up_to_three(tmp_path, written, edits):
    folder = RunFolder(tmp_path)
    line = {"source": "", "target": "a b", "prediction": written, "correct": False}
    tokens = {"tokens": written.split(), "reference_tokens": [["a", "b"]]}
    folder.predictions.write_text("".join(json.dumps(one) + "\n" for one in (line, line | tokens)))
    counted = read_written(folder).edits
    assert counted is not None
    assert [index for index, number in enumerate(counted) if number] == [edits]
    assert sum(counted) == 2


def test_a_picture_has_no_more_panels_than_a_run_writes(tmp_path):
    texts = np.array(['["a"]'] * 4)
    maps = {"attention": np.ones((4, 1, 1), np.float16)}
    maps |= {"attention_source": texts, "attention_target": texts}
    path = tmp_path / "probes.npz"
    np.savez_compressed(path, **{name: array[:3] for name, array in maps.items()})
    assert probes.read(path)
    np.savez_compressed(path, **maps)
    assert probes.read(path) == {}


def test_a_run_that_says_no_loss_is_shown_all_the_same():
    cell = StudyCell("id", "runs/x", "luong", "echo", 0, 1, (), steps=12)
    assert cell.progress({"step": 3}) == ("3 of 12", "")
