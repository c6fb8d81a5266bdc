"""Finished runs in use: outputs in detail, ensembles, new data, going on, another's encoder."""

from __future__ import annotations

import json
import math
import random
import re
from pathlib import Path

import pytest
import torch

from decoderlab import load_run
from decoderlab.cli.evaluate import _of_training
from decoderlab.common.errors import ConfigError
from decoderlab.records.run_folder import RunFolder
from decoderlab.training import schedules
from decoderlab.training.loading import search_with
from decoderlab.usage.attention_picture import draw_attention
from decoderlab.usage.ensemble import ensemble
from decoderlab.usage.new_data import load_with
from decoderlab.usage.outputs import predict, predict_best, predict_outputs
from decoderlab.usage.prefixed_outputs import with_prefix
from tests.conftest import TINY, composed, prepare, run, same, small, weights

SETTINGS = (
    *(one for one in TINY if not one.startswith(("task.", "training.max_steps"))),
    *small("encoder", "lstm"),
)


def write_pairs(path: Path, number: int = 120, seed: int = 0) -> Path:
    letters = random.Random(seed)
    words = {"".join(letters.choices("abcd", k=letters.randint(2, 4))) for _ in range(number)}
    rows = [f"{word}\t{word[::-1]}\n" for word in sorted(words)]
    path.write_text("source\ttarget\n" + "".join(rows))
    return path


def prepared_run(out: Path, file: Path, *more: str, decoder: str = "luong", steps: int = 10):
    settings = (f"task.path={file}", f"run.output_dir={out}", f"training.max_steps={steps}")
    config = composed("task=tsv", *SETTINGS, *small("decoder", decoder), *settings, *more)
    return prepare(config, config.hydra.runtime.choices)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two seeds of one variant, their file and their output folder."""
    out = tmp_path_factory.mktemp("runs")
    file = write_pairs(out / "pairs.tsv")
    made = [prepared_run(out, file, f"seed={seed}") for seed in (0, 1)]
    assert [run(one) for one in made] == ["FINISHED"] * 2
    return out, file, [one.folder.path for one in made]


def test_probabilities_and_attention_are_those_of_the_model(runs):
    *_, (first, _) = runs
    loaded = load_run(first, data=False)
    lines = ["abc", "", "dd"]
    outputs = predict_outputs(loaded, lines, details=True, attention=True)
    assert [len(several) for several in outputs] == [1, 0, 1]
    assert [one[0].text if one else "" for one in outputs] == predict(loaded, lines)
    for line, several in zip(lines, outputs, strict=True):
        for one in several:
            ends = [] if one.end_probability is None else [one.end_probability]
            total = sum(math.log(p) for p in [*one.probabilities, *ends])
            assert one.log_probability == pytest.approx(total)
            assert len(one.attention) == len(one.tokens) == len(one.probabilities)
            assert all(sum(row) == pytest.approx(1, abs=1e-5) for row in one.attention)
            assert all(len(row) == len(line) for row in one.attention)
            assert json.loads(json.dumps(one.record()))["tokens"] == one.tokens
    loaded = search_with(loaded, beam_width=4, length_penalty=1.0)
    best = predict_outputs(loaded, ["abc"], num_best=3, details=True)[0]
    assert [(one.text, one.score) for one in best] == predict_best(loaded, ["abc"], 3)[0]
    for one in best:
        ends = 1 if one.end_probability is None else one.end_probability
        assert math.prod(one.probabilities) * ends == pytest.approx(
            math.exp(one.log_probability), rel=1e-4
        )


@pytest.mark.parametrize(
    ("first", "then", "signature"),
    [
        ({"beam_width": 3, "length_penalty": 1.0}, {"exact_steps": 50}, "exact:50|beam:3"),
        ({"temperature": 1.0, "top_k": 2}, {"exact_steps": 50}, "exact:50|beam:1"),
        ({"beam_width": 4, "beam_groups": 2}, {"exact_steps": 50}, "exact:50|beam:4"),
        ({"beam_width": 4, "beam_groups": 2}, {"beam_width": 1}, "greedy"),
        (
            {"temperature": 1.0},
            {"beam_width": 4, "beam_groups": 2},
            "beam:4|length_penalty:0.0|groups:2|diversity:0.5",
        ),
        ({"exact_steps": 50}, {"beam_width": 2}, "beam:2|length_penalty:0.0"),
        ({"exact_steps": 50}, {"temperature": 1.0}, "sample:temperature:1.0|seed:0"),
    ],
)
def test_one_way_to_search_replaces_another(runs, first, then, signature):
    *_, (folder, _) = runs
    loaded = search_with(search_with(load_run(folder, data=False), **first), **then)
    assert loaded.module.search.signature == signature
    assert len(predict(loaded, ["abc"])) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"exact_steps": 50}, "an exact search has one output"),
        ({"exact_steps": 50, "beam_width": 4}, "an exact search has one output"),
        ({"temperature": 1.0}, "leave --temperature out"),
        ({"beam_width": 1}, "take a beam that is at least as wide"),
    ],
)
def test_several_hypotheses_are_of_a_beam_search_alone(runs, settings, message):
    *_, (folder, _) = runs
    loaded = search_with(load_run(folder, data=False), **settings)
    with pytest.raises(ConfigError, match=message):
        predict_best(loaded, ["abc"], 2)


def test_a_picture_is_drawn_and_another_format_refused(runs, tmp_path):
    draw_attention(tmp_path / "a.svg", [[0.2, 0.8], [1.0, 0.0]], ["$a", "b"], ["x", "y"])
    assert "<svg" in (tmp_path / "a.svg").read_text()
    with pytest.raises(ConfigError, match="must end in .png, .svg, .pdf"):
        draw_attention(tmp_path / "a.doc", [[1.0]], [], [])


def test_an_ensemble_writes_the_mean_of_probabilities(runs):
    *_, folders = runs
    members = [load_run(path, data=False) for path in folders]
    joint = ensemble(members)
    source, lengths = torch.tensor([[4, 5, 6]]), torch.tensor([3])
    with torch.no_grad():
        means = []
        for one in [*members, joint]:
            encoded = one.module.encode(source, lengths)
            logits, _ = one.module.decoder.step(
                torch.tensor([1]), one.module.decoder.start(encoded)
            )
            means.append(logits.double().softmax(dim=-1))
    assert torch.allclose(means[2], (means[0] + means[1]) / 2, atol=1e-6)
    alone = ensemble([members[0], load_run(folders[0], data=False)])
    assert predict(alone, ["abc", "dd"]) == predict(members[0], ["abc", "dd"])
    joint = search_with(joint, beam_width=2)
    assert len(predict_best(joint, ["abc"], 2)[0]) == 2


def test_runs_of_other_vocabularies_make_no_ensemble(runs, tmp_path):
    *_, folders = runs
    file = tmp_path / "other.tsv"
    file.write_text("source\ttarget\n" + "".join(f"x{i}\ty{i}\n" for i in range(30)))
    other = prepared_run(tmp_path, file, steps=2)
    assert run(other) == "FINISHED"
    with pytest.raises(ConfigError, match="run 2 reads or writes another vocabulary"):
        ensemble([load_run(folders[0], data=False), load_run(other.folder.path, data=False)])


@pytest.mark.parametrize("order", [1, -1])
def test_an_ensemble_has_a_coverage_penalty_if_all_of_it_attends(runs, blind, order):
    _, _, (first, second) = runs
    attending = ensemble([load_run(path, data=False) for path in (first, second)])
    covered = search_with(attending, beam_width=2, coverage_penalty=0.5)
    assert len(predict(covered, ["abc"])) == 1
    members = [load_run(path, data=False) for path in (first, blind)]
    with pytest.raises(ConfigError, match="shows no attention_weights"):
        search_with(ensemble(members[::order]), beam_width=2, coverage_penalty=0.5)


@pytest.fixture(scope="module")
def blind(runs, tmp_path_factory):
    """A run on the same data, without attention."""
    out = tmp_path_factory.mktemp("blind")
    prepared = prepared_run(out, runs[1], decoder="repeat_vector", steps=2)
    assert run(prepared) == "FINISHED"
    return prepared.folder.path


def test_moved_data_and_new_test_files_are_told_apart(runs, here, tmp_path):
    _, file, (first, _) = runs
    moved = tmp_path / "moved.tsv"
    moved.write_bytes(file.read_bytes())
    assert load_with(first, [str(moved)]).moved
    new = tmp_path / "new.tsv"
    new.write_text("source\ttarget\nabc\tcba\nabc\tcbz\nnotab\n")
    with pytest.raises(ConfigError, match=r"line 4: 1 columns \(there is no tab in it\)"):
        load_with(first, [str(new)])
    with pytest.raises(ConfigError, match="names 2 file"):
        load_with(first, [str(new), str(new)])
    opened = load_with(first, [str(new)], skip_bad_lines=True)
    assert (opened.moved, opened.counts["bad_lines"], list(opened.left_out)) == (False, 1, [4])
    data = opened.run.task.data
    assert [len(data.splits[name]) for name in ("train", "validation", "test")] == [0, 0, 1]
    assert len(data.splits["test"].references[0]) == 2  # both targets of a source count
    assert data.source_vocabulary.entries == load_run(first).task.data.source_vocabulary.entries
    shown = here("evaluate", str(first), "--data", str(new), "--skip-bad-lines").stdout
    assert re.search(r"^data: a new test file; .*bad lines 1", shown, re.MULTILINE), shown
    shown = here("evaluate", str(first), "--data", str(moved)).stdout
    assert "\ndata: the run's own data; pairs " in shown
    assert "trained on" not in shown


@pytest.mark.parametrize("how", ["shuffled", "all lines with one that is bad", "the data are gone"])
def test_lines_that_a_run_was_trained_on_are_counted(runs, tmp_path, monkeypatch, how):
    _, file, (first, _) = runs
    header, *rows = file.read_text().splitlines(keepends=True)
    train = load_run(first).task.data.counts["train"]
    new = tmp_path / "new.tsv"
    new.write_text(header + "".join(rows[::-1]) + "dddddd\tdddddd\n")
    if how.startswith("all"):
        new.write_text(file.read_text() + "notab\n")
    if how.endswith("gone"):
        monkeypatch.setattr("decoderlab.usage.new_data.build_task", _gone)
    opened = load_with(first, [str(new)], skip_bad_lines=how.startswith("all"))
    assert not opened.moved
    assert opened.trained_on == (None if how.endswith("gone") else train)
    held_out = None if how.endswith("gone") else load_run(first).task.data.counts["validation"]
    assert opened.chosen_on == held_out
    record = opened.record([])
    assert (record["trained_on"], record["chosen_on"]) == (opened.trained_on, held_out)
    line, *more = _of_training(record)
    assert ("not known" if how.endswith("gone") else f"{train} of the ") in line
    assert [f"{held_out} of the " in one for one in more] == ([] if held_out is None else [True])


def _gone(config):
    raise ConfigError("path pairs.tsv is not there")


def test_a_run_goes_on_as_if_its_budget_had_been_larger(runs, tmp_path, capsys):
    out, file, (first, _) = runs
    whole = prepared_run(tmp_path, file, steps=20)
    child = prepared_run(tmp_path, file, f"training.from_run={first}", steps=20)
    assert run(whole) == "FINISHED"
    capsys.readouterr()
    assert run(child) == "FINISHED"
    assert "resuming from update 10" in capsys.readouterr().err  # and not over again from 0
    assert same(weights(whole), weights(child))
    results = [RunFolder(one.folder.path).result() for one in (whole, child)]
    assert results[0].metrics == results[1].metrics
    assert [(one.steps, one.examples_seen, one.restarts) for one in results] == [
        (20, results[0].examples_seen, 0)
    ] * 2
    parent = json.loads((first / "manifest.json").read_text())["run_id"]
    assert child.identity["training"]["from_run"] == parent
    assert load_run(child.folder.path).config.training.from_run == str(first)
    for steps, more, message in (
        (10, (), "a run of 10 updates"),
        (20, ("decoder.dropout=0.5",), "decoder.dropout is 0.5, where 0.0 was run"),
        (20, ("training/optimizer=sgd",), "training.optimizer"),
        (20, ("decoder.dropout=0.5", "training/optimizer=sgd"), "decoder.dropout .* training.opt"),
    ):
        with pytest.raises(ConfigError, match=message):
            prepared_run(tmp_path, file, f"training.from_run={first}", *more, steps=steps)
    with pytest.raises(ConfigError, match="not the folder of a finished run"):
        prepared_run(tmp_path, file, f"training.from_run={tmp_path}", steps=20)


def test_the_rate_after_going_on_is_that_of_the_new_budget(runs, tmp_path):
    _, file, (first, _) = runs
    linear = ("training/schedule=linear", "training.learning_rate=0.02")
    child = prepared_run(tmp_path, file, f"training.from_run={first}", *linear, steps=20)
    assert run(child) == "FINISHED"
    lines = [json.loads(line) for line in child.folder.metrics.read_text().splitlines()]
    rates = {
        line["step"]: line["train/learning_rate"]
        for line in lines
        if "train/learning_rate" in line and line["step"] > 10
    }
    assert rates == {step: pytest.approx(0.02 * (1 - (step - 1) / 20)) for step in range(11, 21)}


class Constant:
    """A schedule of one's own that has the name of ours, and is none."""

    needs_total_steps = False

    def factor(self, step: int, total_steps: int | None) -> float:
        return 1 / (1 + step)


class Level(schedules.Constant):
    """One of ours, whatever it is called."""


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "scale"), [(Level, 0), (Constant, 1)])
def test_a_schedule_is_known_by_its_class_when_a_run_goes_on(runs, tmp_path, capsys, kind, scale):
    _, file, (first, _) = runs
    own = (f"training.schedule._target_={__name__}.{kind.__name__}", "training.learning_rate=0.02")
    child = prepared_run(tmp_path, file, f"training.from_run={first}", *own, steps=13)
    assert run(child) == "FINISHED"
    assert "resuming from update 10" in capsys.readouterr().err
    lines = [json.loads(line) for line in child.folder.metrics.read_text().splitlines()]
    rates = {
        line["step"]: line["train/learning_rate"] for line in lines if "train/learning_rate" in line
    }
    expected = {step: 0.02 / (1 + scale * (step - 1)) for step in (11, 12, 13)}
    assert {step: rates[step] for step in expected} == pytest.approx(expected)


def test_an_encoder_begins_as_that_of_another_run_frozen_or_not(runs, tmp_path):
    _, file, (first, _) = runs
    parent = load_run(first, data=False).module.encoder.state_dict()
    kept = {}
    for frozen in ("true", "false"):
        child = prepared_run(
            tmp_path,
            file,
            f"encoder.from_run={first}",
            f"encoder.frozen={frozen}",
            decoder="repeat_vector",
        )
        assert run(child) == "FINISHED"
        loaded = load_run(child.folder.path)
        kept[frozen] = same(parent, loaded.module.encoder.state_dict())
        trained = loaded.result.parameters.get("encoder", 0)
        assert (trained == 0) == (frozen == "true")
    assert kept == {"true": True, "false": False}
    manifest = json.loads((first / "manifest.json").read_text())
    (best,) = [name for name in manifest["files"] if name.startswith("checkpoints/")]
    assert child.identity["encoder"]["from_run"] == manifest["files"][best]["sha256"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("encoder.frozen=true",), "give encoder.from_run=RUN too"),
        (("encoder.from_run={run}", "encoder.num_layers=2"), "encoder.num_layers is 2, where 1"),
        (("encoder.from_run={run}", "training.from_run={run}"), "both given"),
        (("encoder.from_run={run}", "task.tokens=word"), "another vocabulary"),
    ],
)
def test_what_cannot_begin_is_said_before_anything_is_written(runs, tmp_path, more, message):
    _, file, (first, _) = runs
    given = [one.replace("{run}", str(first)) for one in more]
    with pytest.raises(ConfigError, match=message):
        prepared_run(tmp_path, file, *given, decoder="repeat_vector", steps=20)
    assert list(tmp_path.iterdir()) == []


def test_a_new_test_file_is_cut_into_the_subwords_of_the_run(tmp_path):
    """Also one that is large enough to be split, from which other pieces could be learnt."""
    file = write_pairs(tmp_path / "pairs.tsv")
    subwords = ("task.tokens=subword", "task.vocabulary_size=14")
    prepared = prepared_run(tmp_path, file, *subwords, steps=2)
    assert run(prepared) == "FINISHED"
    sources = ["ccc", "cccccc", "cca", "cccb", "ccd"]
    new = tmp_path / "new.tsv"
    new.write_text("source\ttarget\n" + "".join(f"{word}\t{word}\n" for word in sources))
    opened = load_with(prepared.folder.path, [str(new)])
    known = load_run(prepared.folder.path).task
    encode = known.data.source_vocabulary.encode
    test = opened.run.task.data.splits["test"]
    assert [list(test.source[row]) for row in range(len(test))] == [
        encode(known.source_tokens(word)) for word in sources
    ]


@pytest.mark.parametrize("settings", [{}, {"beam_width": 3}, {"temperature": 1.0}])
def test_outputs_begin_with_a_text(runs, settings):
    *_, (first, _) = runs
    free = search_with(load_run(first, data=False), **settings)
    forced = with_prefix(free, "cab")
    outputs = predict_outputs(forced, ["abc", "", "dd"], details=True, attention=True)
    assert [len(several) for several in outputs] == [1, 0, 1]
    for (output,) in (outputs[0], outputs[2]):
        assert output.text.startswith("cab")
        assert output.probabilities[:3] == [1.0, 1.0, 1.0]
        assert len(output.attention) == len(output.tokens)
    best = predict_outputs(free, ["abc"])
    assert predict(free, ["abc"]) == [best[0][0].text]  # as it was before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no beginning of a text"),
        ("a%", "never saw '%' in a target"),
        ("abcdabcdabcd", "12 tokens, but an output at most"),
    ],
)
def test_a_text_that_cannot_begin_an_output_is_refused(runs, text, message):
    *_, (first, _) = runs
    with pytest.raises(ConfigError, match=message):
        with_prefix(load_run(first, data=False), text)
