"""The commands as a person gives them: plug-ins, predictions, plans, checks, help."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from decoderlab.cli import plan
from decoderlab.records.run_folder import RunFolder
from tests.conftest import variants
from tests.integration.cli import call, command, files, forked, in_process, tiny_arguments

pytestmark = pytest.mark.usefixtures("undrawn")

PLUGIN = '''
from torch import nn


class Constant(nn.Module):
    """Says the same at every step, whatever the source."""

    def __init__(self, *, target_space, encoder_shape, bias=0.0):
        super().__init__()
        self.bos_id = target_space.bos_id
        self.table = nn.Embedding(target_space.size, target_space.size)
        nn.init.constant_(self.table.weight, bias)

    def forward(self, encoded, target):
        before = target.roll(1, dims=1)
        before[:, 0] = self.bos_id
        return self.table(before)

    def start(self, encoded):
        return ()

    def step(self, token, state):
        return self.table(token), state

    def reorder(self, state, index):
        return state
'''


@pytest.mark.slow
@pytest.mark.fault(16)
def test_a_decoder_of_ones_own_needs_no_fork(monkeypatch, capfd, tmp_path):
    conf = tmp_path / "my_conf"
    (conf / "decoder").mkdir(parents=True)
    (conf / "my_plugin.py").write_text(PLUGIN)
    (conf / "decoder" / "constant.yaml").write_text("_target_: my_plugin.Constant\nbias: 1\n")
    # A YAML of the user's wins over ours of the same name.
    (conf / "training").mkdir()
    ours = Path(__file__).parents[2] / "conf" / "training" / "default.yaml"
    text = ours.read_text().replace("batch_size: 64", "batch_size: 7")
    (conf / "training" / "default.yaml").write_text(text)
    output_dir = tmp_path / "outputs"
    shape = [one for one in tiny_arguments(output_dir) if not one.startswith("decoder.")]
    shape = [one for one in shape if not one.startswith("training.batch_size")]
    arguments = [*shape, "--config-dir", str(conf), "decoder=constant"]
    finished = call("train", *arguments)
    assert finished.returncode == 0, finished.stderr
    assert "finished test:" in finished.stdout
    assert "finished" not in finished.stderr
    (folder,) = (output_dir / "runs").iterdir()
    assert folder.name.startswith("echo-lstm-constant-s0-")
    assert "batch_size: 7" in (folder / "config.yaml").read_text()
    assert "bias: 1.0" not in (folder / "config.yaml").read_text()  # no annotation, taken as it is
    assert "(finished)" in forked("plan", *arguments).stdout
    (conf / "my_plugin.py").write_text(PLUGIN.replace("bias=0.0", "bias=0.5"))
    assert "(planned)" in forked("plan", *arguments).stdout  # other code, another run
    (conf / "my_plugin.py").write_text(PLUGIN)
    wrong = forked("train", *arguments, "+decoder.bais=2")
    assert wrong.returncode == 2
    assert "Did you mean bias?" in wrong.stderr
    refused = forked("predict", str(folder), stdin="1 2\n")
    assert refused.returncode == 2
    assert "--trust" in refused.stderr
    predicted = forked("predict", str(folder), "--trust", "--config-dir", str(conf), stdin="1 2\n")
    assert predicted.returncode == 0, predicted.stderr
    assert len(predicted.stdout.splitlines()) == 1
    evaluated = forked("evaluate", str(folder), "--trust", "--config-dir", str(conf))
    assert evaluated.returncode == 0, evaluated.stderr
    lost = forked("evaluate", str(folder), "--trust").stderr
    assert "No module named 'my_plugin'" in lost
    assert "--config-dir" in lost
    assert lost.count("\n") == 1
    checked = forked("check", "decoder=constant", "--config-dir", str(conf))
    assert checked.returncode == 1, checked.stderr
    assert "FAILED the source has influence: no gradient reaches" in checked.stdout
    assert "ok the future has no influence" in checked.stdout
    assert "does not apply: coins fall as declared" in checked.stdout


@pytest.mark.slow
def test_predict_and_evaluate(here, monkeypatch, tmp_path):
    assert in_process(monkeypatch, *tiny_arguments(tmp_path, "decoder=luong")) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    before = files(folder)
    recorded = [
        json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()
    ]
    lines = "".join(f"{one['source']}\n" for one in recorded)
    predicted = call("predict", str(folder), stdin=lines)
    assert predicted.returncode == 0
    assert predicted.stdout.splitlines() == [one["prediction"] for one in recorded]
    evaluated = forked("evaluate", str(folder), "--json")
    assert evaluated.returncode == 0
    result = RunFolder(folder).result()
    assert json.loads(evaluated.stdout) == {
        "metrics": result.metrics.test,
        "signature": result.signature,
    }
    shown = here("evaluate", str(folder)).stdout.splitlines()
    assert f"token accuracy     {result.metrics.test['token_accuracy']:.4g}" in shown
    assert shown[-1] == f"({result.signature})"
    validation = here("evaluate", str(folder), "--split", "validation", "--json")
    scores = json.loads(validation.stdout)["metrics"]
    assert scores == pytest.approx(result.metrics.validation)
    beam = here("evaluate", str(folder), "--beam-width", "3", "--length-penalty", "1", "--json")
    assert "generation:beam:3|length_penalty:1.0|" in json.loads(beam.stdout)["signature"]
    best = here(
        "predict", str(folder), "--beam-width", "3", "--num-best", "3", stdin="1 2\n\n3 4\n"
    )
    table = [line.split("\t") for line in best.stdout.splitlines()]
    assert [row[0] for row in table] == ["1"] * 3 + ["3"] * 3
    scores = [float(row[1]) for row in table]
    assert scores[:3] == sorted(scores[:3], reverse=True)
    assert len({row[2] for row in table[:3]}) == 3
    alone = here("predict", str(folder), "--beam-width", "3", stdin="1 2\n")
    assert alone.stdout == table[0][2] + "\n"
    drawn = [
        here("predict", str(folder), "--temperature", "2", "--seed", seed, stdin=lines).stdout
        for seed in ("0", "0", "1")
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    narrow = here("predict", str(folder), "--num-best", "3", stdin="1 2\n")
    assert (narrow.returncode, "--beam-width 3" in narrow.stderr) == (2, True)
    for given, message in (
        (["--seed", "3"], "nothing is drawn without a temperature"),
        (["--num-best", "1", "--temperature", "2"], "leave --temperature out"),
    ):
        refused = here("predict", str(folder), *given, stdin="1 2\n")
        assert (refused.returncode, message in refused.stderr) == (2, True)
    for given, code, told in (
        ("\ufeff1 2\r\n", 0, ""),
        (b"1 2\n\xff\n", 2, "error: standard input is not UTF-8 (line 2"),
    ):
        asked = here("predict", str(folder), stdin=given)
        assert (asked.returncode, asked.stderr[: len(told)]) == (code, told)
        assert "unknown" not in asked.stderr
    seen_enough = f"{shlex.join(command('predict', str(folder)))} | true; exit ${{PIPESTATUS[0]}}"
    for unbuffered in ("", "1"):
        piped = subprocess.run(
            ["bash", "-c", seen_enough],
            input=lines.encode() * 999,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        )
        assert (piped.returncode, piped.stderr) == (141, b"")
    useless = here("evaluate", str(folder), "--top-k", "3")
    assert (useless.returncode, "only with a temperature" in useless.stderr) == (2, True)
    assert files(folder) == before
    assert here("evaluate", str(tmp_path)).returncode == 2
    assert "does not exist" in here("evaluate", str(tmp_path / "none")).stderr


def test_plan_shows_a_run_and_writes_nothing(here, tmp_path):
    given = ("preset=cho2014", "encoder.summary_size=8", "training.max_epochs=null")
    arguments = tiny_arguments(tmp_path / "outputs", *given)
    shown = forked("plan", *arguments, "--equations")
    assert shown.returncode == 0, shown.stderr
    for part in (
        "after Cho,",
        "differs: there are biases",
        "(planned)",
        "train 200, validation 20, test 20",
        "s_0        = tanh(W_0 c + b_0)",
        "decoder cho2014 (RecurrentDecoder): ",
    ):
        assert part in shown.stdout
    assert "s_0" not in here("plan", *arguments).stdout
    assert list(tmp_path.iterdir()) == []
    both = here("plan", "-m", "decoder=luong,peek", "--equations")
    assert (both.returncode, "--equations is for one model" in both.stderr) == (2, True)
    wrong = here("plan", "decoder=lunog")
    assert (wrong.returncode, "Did you mean luong" in wrong.stderr) == (2, True)


def test_plan_draws_where_the_decoder_gets_what_from(here, tmp_path):
    shown = here("plan", *tiny_arguments(tmp_path, "decoder=peek"), "--diagram")
    assert shown.returncode == 0, shown.stderr
    assert "The summary enters at the initial state and every input." in shown.stdout
    (picture,) = (tmp_path / "diagrams").glob("peek-*.svg")
    assert f"diagram: {picture}" in shown.stdout
    assert picture.read_text().startswith('<svg xmlns="http://www.w3.org/2000/svg"')
    assert list(tmp_path.iterdir()) == [tmp_path / "diagrams"]
    both = here("plan", "-m", "decoder=luong,peek", "--diagram")
    assert (both.returncode, "--diagram is for one model" in both.stderr) == (2, True)


def test_plan_shows_a_sweep_and_what_is_finished(here, monkeypatch, tmp_path):
    sweep = ["-m", *tiny_arguments(tmp_path, "decoder=repeat_vector,luong", "seed=0,1")]
    assert in_process(monkeypatch, *tiny_arguments(tmp_path, "decoder=luong", "seed=1")) == 0
    before = files(tmp_path)
    shown = here("plan", *sweep)
    assert shown.returncode == 0, shown.stderr
    rows = [line.split() for line in shown.stdout.splitlines()[1:]]
    assert [(row[0], *row[-3:]) for row in rows] == [
        ("repeat_vector", "0,", "1", "0"),
        ("luong", "0,", "1", "1"),
    ]
    assert files(tmp_path) == before


@pytest.mark.slow
def test_check_passes_what_is_right_and_explains_what_cannot_be(here, tmp_path):
    done = here("check", "encoder=bilstm", "decoder=luong")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("0 failed") == 2
    images = here("check", "encoder=image_cnn", "--source", "images")
    assert (images.returncode, "0 failed" in images.stdout) == (0, True)
    values = ("decoder=peek", "decoder.head.distribution=gaussian")
    assert here("check", *values, "--target", "values").returncode == 0
    for arguments, message in (
        (["encoder=image_cnn"], "the encoder reads images"),
        (["seed=1"], "give decoder=NAME, encoder=NAME"),
        (
            ["decoder=peek", "--target", "values"],
            "take decoder.head.distribution=point or gaussian",
        ),
    ):
        refused = here("check", *arguments)
        assert (refused.returncode, message in refused.stderr) == (2, True)


def test_check_runs_the_battery_of_each_part_that_is_named(here):
    metric = "+metric@task.metrics.word_error_rate=word_error_rate"
    named = ("decoder/attention=additive", "decoder/bridge=mean", "decoder/cell=gru", metric)
    done = forked("check", *named)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" 0 failed") == len(named)
    for kind in ("AdditiveScore", "MeanBridge", "GRU", "WordErrorRate"):
        assert f".{kind}: " in done.stdout
    assert "ok padding gets exactly zero weight" in done.stdout
    refused = here("check", "decoder/attention=none")
    assert (refused.returncode, "has no score" in refused.stderr) == (2, True)


def test_help_names_what_can_be_chosen_and_shows_the_config(monkeypatch, capfd, tmp_path):
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "mine.yaml").write_text("_target_: decoderlab.tasks.EchoTask\n")
    assert in_process(monkeypatch, "--help", "--config-dir", str(tmp_path), "decoder=luong") == 0
    shown = capfd.readouterr().out
    _, chosen, config = re.split("^== .*", shown, flags=re.M)
    assert max(map(len, shown.splitlines())) <= 100
    chosen = chosen.replace(",\n  ", ", ")
    groups = dict(re.findall(r"^([\w/]+): (.*)$", chosen, re.M))
    for group, names in groups.items():
        own = {"mine"} if group == "task" else set()
        assert set(names.split(", ")) == own | set(variants(group)), group
    assert {"decoder/bridge", "encoder/cell", "study", "training/optimizer"} < set(groups)
    assert "input_feeding: false" in config
    assert in_process(monkeypatch, "--help", f"hydra.searchpath=[file://{tmp_path}]") == 0
    assert re.search(r"^task: (.|\n  )*\bmine\b", capfd.readouterr().out, re.M)
    assert in_process(monkeypatch, "--help", "decoder=luonk") == 2
    assert "Did you mean luong?" in capfd.readouterr().err


def test_a_plan_is_printed_as_json(monkeypatch, capfd, tmp_path):
    monkeypatch.setattr("decoderlab.common.process.plan_only", False)
    monkeypatch.setattr("decoderlab.common.process.plan_as_json", False)

    def planned(*arguments: str) -> dict:
        words = ["decoderlab-plan", "--json", *tiny_arguments(tmp_path, *arguments)]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as left:
            plan.main()
        printed = capfd.readouterr()
        assert left.value.code == 0, printed.err
        return json.loads(printed.out, parse_constant=pytest.fail)

    single = planned("decoder=luong", "--equations")
    sweep_of_it = planned("-m", "decoder=luong,repeat_vector", "seed=0,1", "study.baseline=luong")
    assert single["status"] == "PLANNED"
    assert single["decoder"]["equations"]
    assert sweep_of_it["pending"] == 4
    assert sweep_of_it["baseline"] == "luong"
    assert "fewer than 6 seeds, a pilot" in sweep_of_it["notes"][-1]
    assert len(sweep_of_it["runs"]) == 4
    assert all(run["pending"] for run in sweep_of_it["runs"])
    (same,) = (run for run in sweep_of_it["runs"] if run["run_id"] == single["run_id"])
    assert same["parameters"] == sum(single[part]["parameters"] for part in ("encoder", "decoder"))
    assert list(tmp_path.iterdir()) == []
