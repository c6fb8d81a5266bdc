"""The commands as a person gives them: exit codes, messages, sweeps, plug-ins."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from decoderlab.records.run_folder import RunFolder
from tests.integration.cli import call, command, in_process, start, tiny_arguments, wait_for

WRONG = [
    (["decoder.hiden_size=4"], "decoder.hiden_size is not a setting", "Did you mean hidden_size?"),
    (["trainin.max_steps=4"], "trainin.max_steps is not a setting", "Did you mean training?"),
    (["decoder=repeat_vektor"], "decoder is 'repeat_vektor'", "Did you mean repeat_vector?"),
    (["+decoder.size=4"], "decoder.size is not a setting of RecurrentDecoder", "hidden_size"),
    (["training.learning_rate=abc"], "training.learning_rate is 'abc' (str)", "must be float"),
    (["training.max_steps=1.5"], "training.max_steps is 1.5 (float)", "must be int or null"),
    (["encoder.hidden_size=true"], "encoder.hidden_size is True (bool)", "must be int"),
    (["decoder.routes=every_input"], "decoder.routes is 'every_input' (str)", "must be list"),
    (["decoder.routes=[initial_stat]"], "is 'initial_stat'", "Did you mean initial_state?"),
    (["decoder.routes=[]"], "routes is empty", "name at least one of"),
    (["decoder.bridge={sorce: x}"], "decoder.bridge.sorce is not a", "mean source?"),
    (["decoder.attention=dot"], "decoder.attention is 'dot'", "decoder/attention=dot"),
    (["decoder.attention.score=dot"], "is 'dot', which names no class", "decoder/attention=dot"),
    (["decoder.bridge.kind=dense"], "decoder.bridge.kind is no setting", "decoder/bridge=dense"),
    (["decoder.bridge=dense"], "decoder.bridge is 'dense'", "decoder/bridge=dense"),
    (["decoder.head.kind=maxout"], "decoder.head.kind is no setting", "decoder/head=maxout"),
    (["decoder.feedback=none"], "decoder.feedback is 'none'", "decoder/feedback=none"),
    (["decoder.feedback.kind=none"], "feedback.kind is no setting", "decoder/feedback=none"),
    (["decoder/head=maxuot"], "decoder/head is 'maxuot'", "Did you mean maxout?"),
    (
        ["decoder=initial_state", "decoder/bridge=zero"],
        "the bridge, ZeroBridge, carries nothing",
        "decoder/bridge=copy",
    ),
    (["encoder.dropout=1.5"], "dropout is 1.5", "at least 0 and below 1"),
    (["training.learning_rate=nan"], "learning_rate is nan", "positive number"),
    (["seed=-1"], "seed is -1", "integer from 0"),
    (["seed=01"], "seed is '01'", "integer from 0"),
    (["task=tsv", "task.num_train=null"], "task.num_train is not a setting", "has path"),
    (["encoder._target_=no.such.Class"], "encoder._target_ is 'no.such.Class'", "imported"),
    (
        ["decoder=initial_state", "decoder.hidden_size=7"],
        "hidden_size is 7",
        "decoder/bridge=dense",
    ),
    (["study.name=../x"], "name is '../x'", "use letters"),
    (["decoder=[a"], "'decoder=[a' cannot be read", "in quotes"),
    (["training.weight_decay=inf"], "weight_decay is inf", "at least 0"),
    (["+foo=1"], "foo is not a setting", "the config has task"),
    (["nonsense"], "'nonsense' has no '='", "SETTING=VALUE"),
    (["seed=0,1"], "'seed=0,1' has several values", "decoderlab-train -m"),
    (["~training"], "training is missing", "leave it in"),
    (["~seed"], "seed is None", "integer from 0"),
    (["study.seeds=[0,1]"], "study.seeds is given, which makes a sweep", "give -m"),
    (["study.variants={a: {decoder: luong}}"], "study.variants is given", "MULTIRUN"),
    (["-m", "training.max_stepz=1,2"], "training.max_stepz is not a", "Did you mean max_steps?"),
    (["-m", "study.study=1", "seed=0"], "study.study is not a setting", "study"),
]


@pytest.mark.parametrize(("arguments", "what", "fix"), WRONG, ids=lambda value: str(value)[:40])
def test_a_wrong_config_gets_one_message_and_writes_nothing(
    monkeypatch, capfd, tmp_path, arguments, what, fix
):
    output_dir = tmp_path / "outputs"
    alone = arguments[0] == "task=tsv" or arguments[0].startswith("~")
    base = [] if alone else list(tiny_arguments(output_dir))
    assert in_process(monkeypatch, *base, f"run.output_dir={output_dir}", *arguments) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert what in printed.err
    assert fix in printed.err
    assert "Traceback" not in printed.err
    assert not output_dir.exists()


def test_a_missing_or_malformed_tsv_is_one_message(monkeypatch, capfd, tmp_path):
    bad = tmp_path / "bad.tsv"
    bad.write_text("source\ttarget\na\tb\tc\n")
    for given, expected in [
        ([], "task.path"),
        ([f"task.path={tmp_path / 'none.tsv'}"], "cannot be read"),
        ([f"task.path={bad}"], "line 2: 3 columns, but the first line names 2"),
    ]:
        arguments = ["task=tsv", f"run.output_dir={tmp_path / 'outputs'}", *given]
        assert in_process(monkeypatch, *arguments) == 2
        assert expected in capfd.readouterr().err
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("sweep", [["seed=0"], ["-m", "seed=0,1"]])
def test_an_output_folder_that_cannot_be_written_is_one_message(
    monkeypatch, capfd, tmp_path, sweep
):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file" / "outputs", Path("/proc/decoderlab")):
        assert in_process(monkeypatch, *sweep, *tiny_arguments(folder)) == 2
        error = capfd.readouterr().err
        assert "run.output_dir is" in error
        assert "run.output_dir=FOLDER" in error


def test_a_yaml_that_cannot_be_read_is_one_message(monkeypatch, capfd, tmp_path):
    (tmp_path / "conf" / "study").mkdir(parents=True)
    (tmp_path / "conf" / "study" / "bad.yaml").write_text("study:\n  seeds: [0,1\n")
    given = ["study=bad", "--config-dir", str(tmp_path / "conf"), *tiny_arguments(tmp_path / "o")]
    assert in_process(monkeypatch, *given) == 2
    error = capfd.readouterr().err
    assert error.startswith("error: a YAML cannot be read: ")
    assert "bad.yaml" in error
    assert error.count("\n") == 1


def test_a_sweep_with_one_wrong_cell_starts_nothing(monkeypatch, capfd, tmp_path):
    arguments = ["-m", *tiny_arguments(tmp_path / "o"), "encoder.hidden_size=8,0"]
    assert in_process(monkeypatch, *arguments) == 2
    assert "(in the cell encoder.hidden_size=0)" in capfd.readouterr().err
    assert not (tmp_path / "o").exists()
    assert in_process(monkeypatch, *arguments, "hydra.sweeper.max_batch_size=1") == 2
    assert "max_batch_size" in capfd.readouterr().err


def sweep(monkeypatch, folder: Path, *more: str, seeds: str = "0,1") -> int:
    return in_process(
        monkeypatch,
        "-m",
        *tiny_arguments(folder, "decoder=repeat_vector,luong", f"seed={seeds}", "study.name=s"),
        "hydra/launcher=basic",
        *more,
    )


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_sweep_reports_and_a_second_one_trains_nothing(monkeypatch, capfd, tmp_path):
    assert sweep(monkeypatch, tmp_path) == 0
    printed = capfd.readouterr()
    assert "4 runs planned, 0 finished before" in printed.err
    assert re.search(r"\[3 of 4 done, 0 failed, about \d+ s left\]", printed.err)
    assert "repeat_vector" in printed.out
    assert "2/2" in printed.out
    before = files(tmp_path)
    assert {"studies/s/report.md", "studies/s/results.csv", "studies/s/figures/exact_match.png"} < (
        set(before)
    )
    assert sweep(monkeypatch, tmp_path) == 0
    assert "4 finished before" in capfd.readouterr().err
    assert files(tmp_path) == before

    # A wider sweep only runs what is new, and the report grows.
    assert sweep(monkeypatch, tmp_path, seeds="0,1,2") == 0
    after = files(tmp_path)
    changed = {name for name in before if after.get(name) != before[name]}
    written = {name for name in before if name.startswith("studies/")} - {"studies/s/.lock"}
    # Pictures of the first seed, and of means that stay at 0, remain what they are.
    same = {
        f"studies/s/figures/{one}.png"
        for one in ("attention", "cost", "learning", "lengths", "summaries")
    }
    assert written - same <= changed <= written
    new = set(after) - set(before)
    assert after["studies/s/plan-001.json"] == before["studies/s/plan.json"]
    folders = {Path(name).parts[1] for name in new if name.startswith("runs/")}
    assert len(folders) == 2
    assert all("-s2-" in name for name in folders)
    assert len(after["studies/s/results.csv"].splitlines()) == 1 + 6

    # decoderlab-report rebuilds the same bytes from the runs alone.
    (tmp_path / "studies/s/report.md").unlink()
    finished = call("report", "s", "--output-dir", str(tmp_path))
    assert finished.returncode == 0
    assert files(tmp_path) == after


def test_failures_are_counted_and_shown(monkeypatch, capfd, tmp_path):
    from decoderlab.decoders.recurrent_decoder import RecurrentDecoder

    real = RecurrentDecoder.start

    def fail_with_attention(self, encoded):
        if self.attention is not None and self.training:
            raise RuntimeError("no | attention")
        return real(self, encoded)

    with monkeypatch.context() as patch:
        patch.setattr(RecurrentDecoder, "start", fail_with_attention)
        assert sweep(monkeypatch, tmp_path) == 1
    printed = capfd.readouterr()
    assert "4 of 4 done, 2 failed" in printed.err
    report = (tmp_path / "studies/s/report.md").read_text()
    assert "| luong | 0.000 [n/a] | 0/2, 2 failed |" in report
    assert "2 of 4 runs failed or diverged. They count with the worst score." in report
    assert r"luong, echo, seed 0: FAILED RuntimeError: no \| attention" in report
    # The same command leaves them as they are; study.retry=failed tries again.
    assert sweep(monkeypatch, tmp_path) == 1
    assert "2 finished before, 2 failed before (study.retry=failed" in capfd.readouterr().err
    assert sweep(monkeypatch, tmp_path, "study.retry=failed") == 0
    report = (tmp_path / "studies/s/report.md").read_text()
    assert "failed" not in report
    assert "not finished" not in report


@pytest.mark.slow
def test_a_sweep_with_failures_exits_1_in_a_process_of_its_own(tmp_path):
    broken = ["training.learning_rate=1e38", "training.gradient_clip_norm=null"]
    finished = call("train", "-m", *tiny_arguments(tmp_path, *broken), "seed=0,1")
    assert finished.returncode == 1
    assert "2 failed" in finished.stderr
    assert call("train", *tiny_arguments(tmp_path, *broken)).returncode == 1


@pytest.mark.slow
def test_the_same_run_twice_in_a_grid_is_planned_once(monkeypatch, capfd, tmp_path):
    arguments = tiny_arguments(tmp_path, "training.learning_rate=1e-3,0.001", "study.name=s")
    assert in_process(monkeypatch, "-m", *arguments) == 0
    error = capfd.readouterr().err
    assert "1 runs planned" in error
    assert "is the same run as" in error


@pytest.mark.slow
def test_a_deleted_run_is_missing_in_the_report_and_comes_back(monkeypatch, capfd, tmp_path):
    import shutil

    assert sweep(monkeypatch, tmp_path) == 0
    before = (tmp_path / "studies/s/results.csv").read_text()
    gone = next((tmp_path / "runs").glob("*luong-s1*"))
    shutil.rmtree(gone)
    assert call("report", "s", "--output-dir", str(tmp_path)).returncode == 1
    assert "| 1/2 |" in (tmp_path / "studies/s/report.md").read_text()
    assert sweep(monkeypatch, tmp_path) == 0
    after = (tmp_path / "studies/s/results.csv").read_text()

    def without_seconds(text):
        rows = csv.DictReader(text.splitlines())
        return [{key: row[key] for key in row if not key.endswith("_seconds")} for row in rows]

    assert without_seconds(after) == without_seconds(before)


@pytest.mark.slow
def test_a_damaged_result_is_no_failure_and_is_made_again(monkeypatch, capfd, tmp_path):
    assert sweep(monkeypatch, tmp_path) == 0
    before = (tmp_path / "studies/s/results.csv").read_text()
    damaged = next((tmp_path / "runs").glob("*luong-s1*")) / "result.json"
    damaged.write_text("{}")
    assert call("report", "s", "--output-dir", str(tmp_path)).returncode == 1
    assert "| 1/2 |" in (tmp_path / "studies/s/report.md").read_text()
    assert sweep(monkeypatch, tmp_path) == 0
    assert (tmp_path / "studies/s/results.csv").read_text().count("FINISHED") == 4
    assert before.count("FINISHED") == 4


@pytest.mark.slow
def test_a_report_of_an_unknown_study_names_the_known(monkeypatch, tmp_path):
    assert sweep(monkeypatch, tmp_path) == 0
    finished = call("report", "nope", "--output-dir", str(tmp_path))
    assert finished.returncode == 2
    assert "there are: s" in finished.stderr


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
    (folder,) = (output_dir / "runs").iterdir()
    assert folder.name.startswith("echo-lstm-constant-s0-")
    assert "batch_size: 7" in (folder / "config.yaml").read_text()
    assert "bias: 1.0" not in (folder / "config.yaml").read_text()  # no annotation, taken as it is
    assert "(finished)" in call("plan", *arguments).stdout
    (conf / "my_plugin.py").write_text(PLUGIN.replace("bias=0.0", "bias=0.5"))
    assert "(planned)" in call("plan", *arguments).stdout  # other code, another run
    (conf / "my_plugin.py").write_text(PLUGIN)
    wrong = call("train", *arguments, "+decoder.bais=2")
    assert wrong.returncode == 2
    assert "Did you mean bias?" in wrong.stderr
    refused = call("predict", str(folder), stdin="1 2\n")
    assert refused.returncode == 2
    assert "--trust" in refused.stderr
    predicted = call("predict", str(folder), "--trust", "--config-dir", str(conf), stdin="1 2\n")
    assert predicted.returncode == 0, predicted.stderr
    assert len(predicted.stdout.splitlines()) == 1
    evaluated = call("evaluate", str(folder), "--trust", "--config-dir", str(conf))
    assert evaluated.returncode == 0, evaluated.stderr
    lost = call("evaluate", str(folder), "--trust").stderr
    assert "No module named 'my_plugin'" in lost
    assert "--config-dir" in lost
    assert lost.count("\n") == 1
    checked = call("check", "decoder=constant", "--config-dir", str(conf))
    assert checked.returncode == 1, checked.stderr
    assert "FAILED the source has influence: no gradient reaches" in checked.stdout
    assert "ok the future has no influence" in checked.stdout
    assert "does not apply: coins fall as declared" in checked.stdout


@pytest.mark.slow
def test_predict_and_evaluate(monkeypatch, tmp_path):
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
    evaluated = call("evaluate", str(folder))
    assert evaluated.returncode == 0
    result = RunFolder(folder).result()
    assert json.loads(evaluated.stdout) == {
        "metrics": result.metrics.test,
        "signature": result.signature,
    }
    validation = call("evaluate", str(folder), "--split", "validation")
    scores = json.loads(validation.stdout)["metrics"]
    assert scores == pytest.approx(result.metrics.validation)
    beam = call("evaluate", str(folder), "--beam-width", "3", "--length-penalty", "1")
    assert "generation:beam:3|length_penalty:1.0|" in json.loads(beam.stdout)["signature"]
    best = call(
        "predict", str(folder), "--beam-width", "3", "--num-best", "3", stdin="1 2\n\n3 4\n"
    )
    table = [line.split("\t") for line in best.stdout.splitlines()]
    assert [row[0] for row in table] == ["1"] * 3 + ["3"] * 3
    scores = [float(row[1]) for row in table]
    assert scores[:3] == sorted(scores[:3], reverse=True)
    assert len({row[2] for row in table[:3]}) == 3
    alone = call("predict", str(folder), "--beam-width", "3", stdin="1 2\n")
    assert alone.stdout == table[0][2] + "\n"
    drawn = [
        call("predict", str(folder), "--temperature", "2", "--seed", seed, stdin=lines).stdout
        for seed in ("0", "0", "1")
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    narrow = call("predict", str(folder), "--num-best", "3", stdin="1 2\n")
    assert (narrow.returncode, "--beam-width 3" in narrow.stderr) == (2, True)
    for given, message in (
        (["--seed", "3"], "nothing is drawn without a temperature"),
        (["--num-best", "1", "--temperature", "2"], "leave --temperature out"),
    ):
        refused = call("predict", str(folder), *given, stdin="1 2\n")
        assert (refused.returncode, message in refused.stderr) == (2, True)
    for given, code, told in (
        ("\ufeff1 2\r\n".encode(), 0, b""),
        (b"1 2\n\xff\n", 2, b"error: standard input is not UTF-8 (line 2"),
    ):
        asked = subprocess.run(command("predict", str(folder)), input=given, capture_output=True)
        assert (asked.returncode, asked.stderr[: len(told)]) == (code, told)
        assert b"unknown" not in asked.stderr
    seen_enough = f"{shlex.join(command('predict', str(folder)))} | true; exit ${{PIPESTATUS[0]}}"
    for unbuffered in ("", "1"):
        piped = subprocess.run(
            ["bash", "-c", seen_enough],
            input=lines.encode() * 999,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        )
        assert (piped.returncode, piped.stderr) == (141, b"")
    useless = call("evaluate", str(folder), "--top-k", "3")
    assert (useless.returncode, "only with a temperature" in useless.stderr) == (2, True)
    assert files(folder) == before
    assert call("evaluate", str(tmp_path)).returncode == 2
    assert "does not exist" in call("evaluate", str(tmp_path / "none")).stderr


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)]
)
def test_a_stopped_sweep_says_so_and_goes_on(monkeypatch, capfd, tmp_path, signum, code):
    def arguments(folder):
        return [
            "-m",
            *tiny_arguments(folder, "training.max_steps=400", "evaluation.every_steps=40"),
            "seed=0,1",
            "study.name=s",
        ]

    process = start("train", *arguments(tmp_path / "stopped"))
    runs = tmp_path / "stopped" / "runs"
    wait_for(lambda: list(runs.glob("*/checkpoints/step-*.ckpt.sha256")), process)
    os.killpg(process.pid, signum)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == code, output
    statuses = {RunFolder(folder).status()["status"] for folder in runs.iterdir()}
    assert "INTERRUPTED" in statuses <= {"INTERRUPTED", "PLANNED"}
    assert not list(runs.glob("*/result.json"))
    if signum != signal.SIGKILL:
        assert "the same command goes on from here" in output
    assert in_process(monkeypatch, *arguments(tmp_path / "stopped")) == 0
    if signum == signal.SIGTERM:
        assert in_process(monkeypatch, *arguments(tmp_path / "whole")) == 0
        for one in (tmp_path / "whole" / "runs").iterdir():
            other = RunFolder(runs / one.name).result()
            assert RunFolder(one).result().metrics == other.metrics


def test_plan_shows_a_run_and_writes_nothing(tmp_path):
    given = ("preset=cho2014", "encoder.summary_size=8", "training.max_epochs=null")
    arguments = tiny_arguments(tmp_path / "outputs", *given)
    shown = call("plan", *arguments, "--equations")
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
    assert "s_0" not in call("plan", *arguments).stdout
    assert list(tmp_path.iterdir()) == []
    both = call("plan", "-m", "decoder=luong,peek", "--equations")
    assert (both.returncode, "--equations is for one model" in both.stderr) == (2, True)
    wrong = call("plan", "decoder=lunog")
    assert (wrong.returncode, "Did you mean luong" in wrong.stderr) == (2, True)


def test_plan_shows_a_sweep_and_what_is_finished(monkeypatch, tmp_path):
    sweep = ["-m", *tiny_arguments(tmp_path, "decoder=repeat_vector,luong", "seed=0,1")]
    assert in_process(monkeypatch, *tiny_arguments(tmp_path, "decoder=luong", "seed=1")) == 0
    before = files(tmp_path)
    shown = call("plan", *sweep)
    assert shown.returncode == 0, shown.stderr
    rows = [line.split() for line in shown.stdout.splitlines()[1:]]
    assert [(row[0], *row[-3:]) for row in rows] == [
        ("repeat_vector", "0,", "1", "0"),
        ("luong", "0,", "1", "1"),
    ]
    assert files(tmp_path) == before


def test_check_passes_what_is_right_and_explains_what_cannot_be(tmp_path):
    done = call("check", "encoder=bilstm", "decoder=luong")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("0 failed") == 2
    images = call("check", "encoder=image_cnn", "--source", "images")
    assert (images.returncode, "0 failed" in images.stdout) == (0, True)
    values = ("decoder=peek", "decoder.head.distribution=gaussian")
    assert call("check", *values, "--target", "values").returncode == 0
    for arguments, message in (
        (["encoder=image_cnn"], "the encoder reads images"),
        (["seed=1"], "give decoder=NAME, encoder=NAME"),
        (
            ["decoder=peek", "--target", "values"],
            "take decoder.head.distribution=point or gaussian",
        ),
    ):
        refused = call("check", *arguments)
        assert (refused.returncode, message in refused.stderr) == (2, True)


def test_check_runs_the_battery_of_each_part_that_is_named():
    metric = "+metric@task.metrics.word_error_rate=word_error_rate"
    named = ("decoder/attention=additive", "decoder/bridge=mean", "decoder/cell=gru", metric)
    done = call("check", *named)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" 0 failed") == len(named)
    for kind in ("AdditiveScore", "MeanBridge", "GRU", "WordErrorRate"):
        assert f".{kind}: " in done.stdout
    assert "ok padding gets exactly zero weight" in done.stdout
    refused = call("check", "decoder/attention=none")
    assert (refused.returncode, "has no score" in refused.stderr) == (2, True)
