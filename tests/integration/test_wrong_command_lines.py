"""Command lines that cannot work: an exit code, a single message, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.cli import in_process, tiny_arguments

pytestmark = pytest.mark.usefixtures("undrawn")

WRONG = [
    (
        1,
        ["decoder.hiden_size=4"],
        "decoder.hiden_size is not a setting",
        "Did you mean hidden_size?",
    ),
    (1, ["trainin.max_steps=4"], "trainin.max_steps is not a setting", "Did you mean training?"),
    (
        2,
        ["decoder=repeat_vektor"],
        "decoder is 'repeat_vektor'; it must be one of all_routes, ",
        "Did you mean repeat_vector?",
    ),
    (1, ["+decoder.size=4"], "decoder.size is not a setting of RecurrentDecoder", "hidden_size"),
    (3, ["training.learning_rate=abc"], "training.learning_rate is 'abc' (str)", "must be float"),
    (3, ["training.max_steps=1.5"], "training.max_steps is 1.5 (float)", "must be int or null"),
    (3, ["encoder.hidden_size=true"], "encoder.hidden_size is True (bool)", "must be int"),
    (3, ["decoder.routes=every_input"], "decoder.routes is 'every_input' (str)", "must be list"),
    (2, ["decoder.routes=[initial_stat]"], "is 'initial_stat'", "Did you mean initial_state?"),
    (5, ["decoder.routes=[]"], "routes is empty and attention is none", "name at least one of"),
    (1, ["decoder.bridge={sorce: x}"], "decoder.bridge.sorce is not a", "mean source?"),
    (2, ["decoder.attention=dot"], "decoder.attention is 'dot'", "decoder/attention=dot"),
    (2, ["decoder.attention.score=dot"], "is 'dot', which names no class", "decoder/attention=dot"),
    (
        1,
        ["decoder.bridge.kind=dense"],
        "decoder.bridge.kind is not a setting",
        "decoder/bridge=dense",
    ),
    (2, ["decoder.bridge=dense"], "decoder.bridge is 'dense'", "decoder/bridge=dense"),
    (1, ["decoder.head.kind=maxout"], "decoder.head.kind is not a setting", "decoder/head=maxout"),
    (2, ["decoder.feedback=none"], "decoder.feedback is 'none'", "decoder/feedback=none"),
    (1, ["decoder.feedback.kind=none"], "feedback.kind is not a setting", "decoder/feedback=none"),
    (
        2,
        ["decoder/head=maxuot"],
        "decoder/head is 'maxuot'; it must be one of ",
        "Did you mean maxout?",
    ),
    (
        5,
        ["decoder=initial_state", "decoder/bridge=zero"],
        "the bridge, ZeroBridge, carries nothing",
        "decoder/bridge=copy",
    ),
    (4, ["encoder.dropout=1.5"], "dropout is 1.5", "at least 0 and below 1"),
    (4, ["training.learning_rate=nan"], "learning_rate is nan", "finite number"),
    (8, ["seed=-1"], "seed is -1", "integer from 0"),
    (8, ["seed=01"], "seed is '01'", "integer from 0"),
    (1, ["task=tsv", "task.num_train=null"], "task.num_train is not a setting", "has path"),
    (2, ["encoder._target_=no.such.Class"], "encoder._target_ is 'no.such.Class'", "imported"),
    (
        5,
        ["decoder=initial_state", "decoder.hidden_size=7"],
        "hidden_size is 7",
        "decoder/bridge=dense",
    ),
    (17, ["study.name=../x"], "name is '../x'", "use letters"),
    (7, ["decoder=[a"], "'decoder=[a' cannot be read", "in quotes"),
    (4, ["training.weight_decay=inf"], "weight_decay is inf", "finite number"),
    (1, ["+foo=1"], "foo is not a setting", "the config has task"),
    (1, ["nonsense"], "'nonsense' has no '='", "SETTING=VALUE"),
    (1, ["-m", "decoder=luong,", "peek"], "'peek' has no '='", "a space after 'decoder=luong,'"),
    (7, ["seed=0,1"], "'seed=0,1' has several values", "decoderlab-train -m"),
    (6, ["~training"], "training is missing", "leave it in"),
    (6, ["~seed"], "seed is None", "integer from 0"),
    (5, ["study.seeds=[0,1]"], "study.seeds is given, which makes a sweep", "give -m"),
    (5, ["study.variants={a: {decoder: luong}}"], "study.variants is given", "MULTIRUN"),
    (1, ["-m", "training.max_stepz=1,2"], "training.max_stepz is not a", "Did you mean max_steps?"),
    (1, ["-m", "study.study=1", "seed=0"], "study.study is not a setting", "study"),
    (4, ["encoder.hidden_size=0"], "hidden_size is 0", "at least 1"),
    (
        7,
        ["study.question=a,b"],
        "'study.question=a,b' has several values",
        "for a list, write [a,b]",
    ),
    (
        7,
        ["study.question=a[b"],
        "'study.question=a[b' cannot be read",
        "in quotes, as in: 'key=\"value\"'",
    ),
]


@pytest.mark.parametrize(
    ("arguments", "what", "fix"),
    [
        pytest.param(words, what, fix, marks=pytest.mark.fault(number), id=" ".join(words)[:60])
        for number, words, what, fix in WRONG
    ],
)
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
    assert printed.err.count("error: ") == 1
    assert what in printed.err
    assert fix in printed.err
    assert "Traceback" not in printed.err
    assert not output_dir.exists()


@pytest.mark.fault(19)
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
        error = capfd.readouterr().err
        assert expected in error
        assert all(text.removeprefix("task.path=") in error for text in given)
        assert error.count("\n") == 1
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("sweep", [["seed=0"], ["-m", "seed=0,1"]])
@pytest.mark.fault(45)
def test_an_output_folder_that_cannot_be_written_is_one_message(
    monkeypatch, capfd, tmp_path, sweep
):
    (tmp_path / "file").write_text("")
    for folder, nearest, reason in (
        (tmp_path / "file" / "outputs", tmp_path / "file", "Not a directory"),
        (Path("/proc/decoderlab"), Path("/proc"), "No such file or directory"),
    ):
        assert in_process(monkeypatch, *sweep, *tiny_arguments(folder)) == 2
        (said,) = capfd.readouterr().err.splitlines()
        assert said.startswith(
            f"error: run.output_dir is '{folder}', but nothing can be written to {nearest} "
            f"({reason}); give another folder: run.output_dir=FOLDER"
        )
    assert (tmp_path / "file").read_text() == ""


@pytest.mark.fault(11)
def test_a_yaml_that_cannot_be_read_is_one_message(monkeypatch, capfd, tmp_path):
    (tmp_path / "conf" / "study").mkdir(parents=True)
    (tmp_path / "conf" / "study" / "bad.yaml").write_text("study:\n  seeds: [0,1\n")
    given = ["study=bad", "--config-dir", str(tmp_path / "conf"), *tiny_arguments(tmp_path / "o")]
    assert in_process(monkeypatch, *given) == 2
    error = capfd.readouterr().err
    assert "study/bad.yaml:3:1: did not find expected ',' or ']'" in error
    assert error.count("\n") == 1


@pytest.mark.fault(4, 14)
def test_a_sweep_with_one_wrong_cell_starts_nothing(monkeypatch, capfd, tmp_path):
    arguments = ["-m", *tiny_arguments(tmp_path / "o"), "encoder.hidden_size=8,0"]
    assert in_process(monkeypatch, *arguments) == 2
    wrong = "hidden_size is 0; it must be at least 1 (in the cell encoder.hidden_size=0)"
    assert wrong in capfd.readouterr().err
    assert not (tmp_path / "o").exists()
    assert in_process(monkeypatch, *arguments, "hydra.sweeper.max_batch_size=1") == 2
    said = "max_batch_size is 1; leave it out: with it, one failed run would keep all later batches"
    assert said in capfd.readouterr().err
    assert not (tmp_path / "o").exists()
