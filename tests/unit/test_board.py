"""What TensorBoard is given of a study, read back with TensorBoard's own readers."""

from __future__ import annotations

import html
import io
import json
import re
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from torch.utils.tensorboard import SummaryWriter

from decoderlab.config.run_config import Choices
from decoderlab.records.run_folder import RunFolder
from decoderlab.records.tensorboard import add_attention
from decoderlab.studies.analysis.curves import learning_curve
from decoderlab.studies.analysis.results import read_rows
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.design.plan_file import Plan, StudyCell
from decoderlab.studies.reporting import tensorboard_study
from decoderlab.training.probes import Probes
from tests.forging import reseal
from tests.unit import studies
from tests.unit.studies import STUDY, UPDATES, config_of

ODD = "b/c (d)"
ODD_SAFE = tensorboard_study._safe(ODD)
# Source, target, prediction, correct: nothing in them may break a table or a list of labels.
EXAMPLES = [
    ("a|b", "x\ty", "x\ty", True),
    ("*c* _d_ [e](f)", "line\nline", "`f", False),
    ("<b>", "y & z", "", False),
    ("# 1", "\u2028$x$", "$x$", False),
]
SUMMARIES = (np.arange(12).reshape(4, 3) / 7 - 0.5).astype(np.float16)
MAPS = np.array([[[1, 0], [0, 0]], [[1, 1], [1, 1]]], dtype=np.float16)


def curve(seed: int) -> dict[int, float]:
    return {step: step * (1 + seed) / 12 for step in (1, 2, 3)}


def write_run(folder: RunFolder, seed: int, place: int, attention: bool) -> str:
    final = {"exact_match": curve(seed)[3], "loss": 0.25 + seed}
    choices = Choices("echo", "lstm", ODD if attention else "a")
    changes = {
        "metrics": {"test": final, "validation": final, "validation_last": final},
        "best_step": 3,
        "best_checkpoint": "checkpoints/best-000000003.ckpt",
        "steps": 3,
        "probes": {"by_position": {"number": [], "free": [], "forced": []}},
        "parameters": {"encoder": 1000, "decoder": place, "total": 1000 + place},
    }
    config = config_of(place, choices, seed)
    config = replace(config, evaluation=replace(config.evaluation, every_steps=1))
    run_id = studies.write_run(folder, final["exact_match"], config, 4, **changes)
    studies.write_metrics(
        folder, {step: final | {"exact_match": score} for step, score in curve(seed).items()}
    )
    names = ("source", "target", "prediction", "correct")
    made = [
        (source, target, target if row < 1 + seed else written, row < 1 + seed)
        for row, (source, target, written, _) in enumerate(EXAMPLES)
    ]
    records = [json.dumps(dict(zip(names, example, strict=True))) for example in made]
    folder.predictions.write_text("".join(f"{line}\n" for line in records))
    arrays = {
        "summaries": SUMMARIES + np.float16(seed),
        "lengths": np.array([2, 2, 3, 1]),
        "first": np.array(["x", "line", "y", "$x$"]),
    }
    if attention:
        arrays["attention"] = MAPS
        arrays["attention_source"] = np.array([json.dumps(["a", "$x$"])] * 2)
        arrays["attention_target"] = np.array([json.dumps(["$\\no_formula$", "<eos>"])] * 2)
    Probes({}, arrays).write(folder.probes)
    reseal(folder)
    return run_id


def study(tmp_path: Path) -> Analysis:
    """Write two variants, one of which also has a failed run and one that has not begun."""
    cells = []
    for variant, seeds, factors in (
        ("a", 2, {"width": "8", "task": "echo", "route": "output"}),
        (ODD, 4, {"width": "16.5", "task": "echo"}),
    ):
        for seed in range(seeds):
            place = len(cells)
            folder, run_id = RunFolder(tmp_path / f"runs/{place}"), f"id{place}"
            if seed < 2:
                run_id = write_run(folder, seed, place, attention=variant == ODD)
            name = f"runs/{place}"
            named = (variant, "echo", seed, 1000 + place, (), factors, 1000.0, 3)
            cells.append(StudyCell(run_id, name, *named))
            if seed == 2:
                folder.set_status("FAILED", reason="because")
    plan = Plan(STUDY, tuple(cells), UPDATES)
    return Analysis(plan, read_rows(plan, tmp_path))


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0}).Reload()


def shown_text(markdown: bytes) -> str:
    """Return the HTML that the Text tab makes of Markdown."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of what TensorBoard brings along
        from tensorboard.plugin_util import markdown_to_safe_html
    return markdown_to_safe_html(markdown)


def runs(folder: Path) -> list[str]:
    events = folder.rglob("events.out.tfevents.*")
    return sorted(one.parent.relative_to(folder).as_posix() for one in events)


def test_every_finished_run_is_a_session_with_its_factors_and_scores(tmp_path):
    analysis = study(tmp_path)
    folder = tensorboard_study.write_board(analysis, tmp_path)
    assert folder == tmp_path / "studies/s/tensorboard"
    sessions = {name: read(folder / name) for name in runs(folder)}
    starts = {}
    for name, events in sessions.items():
        found = events.PluginTagToContent("hparams") if name.startswith("echo/") else {}
        # An experiment's summary would hide the factors that its run lacks.
        assert metadata.EXPERIMENT_TAG not in events.Tags()["tensors"]
        assert metadata.EXPERIMENT_TAG not in found
        if found:
            content = found[metadata.SESSION_START_INFO_TAG]
            starts[name] = metadata.parse_session_start_info_plugin_data(content).hparams
            assert metadata.SESSION_END_INFO_TAG in found
    assert sorted(starts) == sorted(
        f"echo/{variant}/seed {seed}" for variant in ("a", ODD_SAFE) for seed in (0, 1)
    )
    assert "/" not in ODD_SAFE
    for row in (row for row in analysis.rows if row.status == "FINISHED"):
        name = f"echo/{tensorboard_study._safe(row.cell.variant)}/seed {row.cell.seed}"
        values = {key: getattr(one, one.WhichOneof("kind")) for key, one in starts[name].items()}
        assert values == row.cell.factors | {
            "width": float(row.cell.factors["width"]),
            "variant": row.cell.variant,
            "seed": row.cell.seed,
        }
        shown = {
            tag: sessions[name].Scalars(tag)[0].value for tag in sessions[name].Tags()["scalars"]
        }
        expected = {f"test/{key}": one for key, one in row.result.metrics.test.items()}
        assert shown == pytest.approx(expected | {"parameters": row.cell.parameters})


def test_means_are_the_learning_curve_and_the_charts_find_them(tmp_path):
    analysis = study(tmp_path)
    folder = tensorboard_study.write_board(analysis, tmp_path)
    (point,) = read(folder).Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(point.tensor_proto.string_val[0])
    (category,) = layout.category
    assert [chart.title for chart in category.chart] == ["echo"]
    (series,) = category.chart[0].margin.series
    for variant in ("a", ODD):
        events = read(folder / "mean" / tensorboard_study._safe(variant))
        profile = learning_curve(analysis.by_cell[variant, "echo"], tmp_path, "exact_match")
        assert (profile.low < profile.mean).all()
        for tag, values in (
            (series.value, profile.mean),
            (series.lower, profile.low),
            (series.upper, profile.high),
        ):
            points = events.Scalars(tag)
            assert [one.step for one in points] == profile.positions.tolist() == [1, 2, 3]
            assert [one.value for one in points] == pytest.approx(values.tolist())
        assert sorted(events.Tags()["scalars"]) == sorted(
            [series.value, series.lower, series.upper]
        )
    # TensorBoard takes what stands between brackets for the run.
    assert "(" not in series.value


def test_attention_of_the_first_seed_is_shown_example_by_example(tmp_path):
    folder = tensorboard_study.write_board(study(tmp_path), tmp_path)
    tags = {name: read(folder / name).Tags()["images"] for name in runs(folder)}
    name = f"echo/{ODD_SAFE}/seed 0"
    assert {one for one, found in tags.items() if found} == {name}
    assert tags[name] == ["echo/attention, example 1", "echo/attention, example 2"]
    dark = []
    for tag in tags[name]:
        (image,) = read(folder / name).Images(tag)
        pixels = np.array(Image.open(io.BytesIO(image.encoded_image_string)).convert("L"))
        assert pixels.shape == (image.height, image.width)
        dark.append((pixels < 10).sum())
    assert dark[1] / dark[0] == pytest.approx(4, rel=0.3)  # labels and frame are dark too


def test_a_source_of_one_position_has_no_map(tmp_path):
    texts = np.array([json.dumps(["one"]), json.dumps(["two", "words"])])
    arrays = {"attention_source": texts, "attention_target": texts}
    arrays["attention"] = np.ones((2, 2, 2), np.float16)
    with SummaryWriter(tmp_path) as writer:
        add_attention(writer, "test", arrays)
    assert read(tmp_path).Tags()["images"] == ["test/attention, example 2"]


@pytest.mark.parametrize("tokens", [["a" * 100_000] * 3, ["a"] * 20_000])
def test_a_map_of_long_tokens_or_of_many_is_drawn_in_a_moment(tmp_path, tokens):
    texts, begun = np.array([json.dumps(tokens)]), time.process_time()
    arrays = {"attention_source": texts, "attention_target": texts}
    arrays["attention"] = np.zeros((1, 3, len(tokens)), np.float16)
    with SummaryWriter(tmp_path) as writer:
        add_attention(writer, "test", arrays)
    assert time.process_time() - begun < 10
    assert read(tmp_path).Tags()["images"] == ["test/attention, example 1"]


def test_sample_predictions_are_a_table_whatever_is_in_them(tmp_path):
    folder = tensorboard_study.write_board(study(tmp_path), tmp_path)
    name = f"echo/{ODD_SAFE}/seed 0"
    (point,) = read(folder / name).Tensors("echo/predictions/text_summary")
    page = shown_text(point.tensor_proto.string_val[0])
    rows = [re.findall(r"<td>(.*?)</td>", one) for one in re.split(r"<tr>", page)]
    cells = [[html.unescape(cell).strip() for cell in row] for row in rows if row]
    assert cells == [
        ["a|b", "x y", "x y"],
        ["*c* _d_ [e](f)", "line line", "`f ✗"],
        ["<b>", "y & z", "✗"],
        ["# 1", r"\u2028$x$", "$x$ ✗"],
    ]
    assert (
        "echo/predictions/text_summary"
        not in (read(folder / "echo" / ODD_SAFE / "seed 1").Tags()["tensors"])
    )


def test_the_projector_has_the_summaries_with_a_label_each(tmp_path):
    folder = tensorboard_study.write_board(study(tmp_path), tmp_path)
    config = text_format.Parse((folder / "projector_config.pbtxt").read_text(), ProjectorConfig())
    names = [one.tensor_name for one in config.embeddings]
    assert names == ["echo/a", f"echo/{ODD_SAFE}"]
    for one in config.embeddings:
        vectors = np.loadtxt(folder / one.tensor_path, delimiter="\t")
        np.testing.assert_allclose(vectors, SUMMARIES, rtol=1e-5)
        text = (folder / one.metadata_path).read_text(encoding="utf-8")
        assert [line.split("\t") for line in text.removesuffix("\n").split("\n")] == [
            ["source", "target", "length", "first token", "correct"],
            ["a|b", "x y", "2", "x", "yes"],
            ["*c* _d_ [e](f)", "line line", "2", "line", "no"],
            ["<b>", "y & z", "3", "y", "no"],
            ["# 1", r"\u2028$x$", "1", "$x$", "no"],
        ]


def test_a_second_call_replaces_the_first_and_a_failed_one_changes_nothing(tmp_path, monkeypatch):
    analysis = study(tmp_path)
    folder = tensorboard_study.write_board(analysis, tmp_path)
    before = runs(folder)
    (folder / "stale").mkdir()
    left_over = folder.with_name(".tensorboard.new")
    left_over.mkdir()
    (left_over / "stale").touch()
    tensorboard_study.write_board(analysis, tmp_path)
    assert runs(folder) == before
    assert not list(tmp_path.rglob("stale"))

    def full(*_):
        raise OSError("no space left")

    (folder / "kept").touch()
    monkeypatch.setattr(tensorboard_study, "_add_summaries", full)
    with pytest.raises(OSError, match="no space left"):
        tensorboard_study.write_board(analysis, tmp_path)
    assert (folder / "kept").exists()
    kept = {path.name for path in folder.parent.iterdir()} - {".tensorboard.lock"}
    assert kept == {"tensorboard"}


def test_variants_that_no_figure_has_room_for_are_in_hparams_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorboard_study, "shown_variants", lambda analysis: ["a"])
    folder = tensorboard_study.write_board(study(tmp_path), tmp_path)
    assert runs(folder) == [
        ".",
        "echo/a/seed 0",
        "echo/a/seed 1",
        f"echo/{ODD_SAFE}/seed 0",
        f"echo/{ODD_SAFE}/seed 1",
        "mean/a",
    ]
    assert read(folder / "echo" / ODD_SAFE / "seed 0").Tags()["images"] == []
    assert (folder / "projector_config.pbtxt").read_text().count("tensor_name") == 1


def test_what_is_missing_or_damaged_is_left_out(tmp_path):
    analysis = study(tmp_path)
    for place in (0, 1):
        (tmp_path / f"runs/{place}/metrics.jsonl").unlink()
    (tmp_path / "runs/0/probes.npz").write_bytes(b"damaged")
    short = tmp_path / "runs/2/predictions.jsonl"
    short.write_text(short.read_text().split("\n")[0] + "\n")
    folder = tensorboard_study.write_board(analysis, tmp_path)
    assert not (folder / "projector_config.pbtxt").exists()  # labels would be those of others
    assert len(runs(folder)) == 1 + 4 + 1
    for row in analysis.rows:
        (tmp_path / row.cell.folder / "status.json").unlink(missing_ok=True)
    nothing = Analysis(analysis.plan, read_rows(analysis.plan, tmp_path))
    assert runs(tensorboard_study.write_board(nothing, tmp_path)) == []


def test_names_are_safe_and_remain_different():
    names = ["..", "a/b", "a\\b", "a_b", "a\0b", "x" * 300, "x" * 301, "é" * 200, " a ", "a", "50%"]
    safe = [tensorboard_study._safe(name) for name in names]
    assert len(set(safe)) == len(names)
    for one in safe:
        assert re.fullmatch(r"[^./\\%\0()][^/\\%\0()]*", one)
        assert len(one.encode()) < 200
    assert (safe[3], safe[9]) == ("a_b", "a")
