"""The commands about a finished run: what they print, and what they refuse in one message."""

from __future__ import annotations

import io
import json
import shlex
import sys
from types import SimpleNamespace

import pytest

from decoderlab.cli import evaluate, export, predict
from decoderlab.training import code_changes
from decoderlab.usage import exported_runner, run_export
from tests.conftest import run

WRONG = {
    "--attention is written as JSON": ("--attention",),
    "--example says what to draw": ("--example", "2"),
    "there is no line 9": ("{file}", "--picture", "{out}/a.png", "--example", "9"),
    "its name must end in .png": ("{file}", "--picture", "{out}/a.txt"),
    "the file {out}/none.txt cannot be read": ("{out}/none.txt",),
    "neither the folder of a run nor a file": ("{file}", "{out}/none.txt"),
    "--max-length is 0": ("{file}", "--max-length", "0"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("using")


@pytest.fixture
def finished(tiny, place):
    prepared = tiny("decoder=luong", output_dir=place)
    assert run(prepared) == "FINISHED"
    return prepared.folder.path


@pytest.fixture
def called(monkeypatch, capsys):
    """Run a command here; return its exit code and what it printed."""

    def call(module, *arguments, stdin=b""):
        given = SimpleNamespace(buffer=io.BytesIO(stdin), isatty=lambda: False)
        monkeypatch.setattr(sys, "stdin", given)
        monkeypatch.setattr(sys, "argv", ["decoderlab", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            module.main()
        return left.value.code, *capsys.readouterr()

    return call


def test_predict_reads_a_file_and_tells_all_as_json(finished, called, tmp_path):
    file = tmp_path / "sources.txt"
    file.write_text("1 2\n\n3 4 5\n")
    code, plain, _ = called(predict, finished, file)
    assert (code, len(plain.splitlines())) == (0, 3)
    assert called(predict, finished, stdin=file.read_bytes())[1] == plain
    code, text, _ = called(predict, finished, file, "--json", "--attention")
    records = [json.loads(line) for line in text.splitlines()]
    assert [one["line"] for one in records] == [1, 2, 3]
    assert [one["source"] for one in records] == ["1 2", "", "3 4 5"]
    texts = [one["outputs"][0]["text"] if one["outputs"] else "" for one in records]
    assert texts == plain.splitlines()
    for one in (records[0]["outputs"][0], records[2]["outputs"][0]):
        assert len(one["probabilities"]) == len(one["tokens"]) == len(one["attention"])
    code, joint, _ = called(predict, finished, finished, file)
    assert (code, joint) == (0, plain)  # an ensemble of a run with itself


def test_a_picture_comes_beside_the_predictions(finished, called, tmp_path):
    lines, drawn = b"1 2\n\n3 4 5\n", 0
    for seed in range(4):  # outputs of a model that has learned little are often empty
        sampled = ("--temperature", "9", "--seed", seed)
        code, plain, _ = called(predict, finished, *sampled, stdin=lines)
        assert (code, plain.count("\n")) == (0, 3)
        for number in (1, 3):
            picture = tmp_path / f"{seed}-{number}.png"
            asked = ("--picture", picture, "--example", number)
            code, printed, told = called(predict, finished, *sampled, *asked, stdin=lines)
            if plain.splitlines()[number - 1]:
                drawn += 1
                assert (code, picture.read_bytes()[:4]) == (0, b"\x89PNG")
                assert printed == plain, "as without the picture"
                assert f"the attention of line {number}: {picture}\n" in told
            else:
                assert (code, printed) == (2, "")
                assert "is empty: there is nothing to draw" in told
    assert drawn


def test_predict_marks_what_met_the_limit(finished, called):
    code, text, told = called(
        predict,
        *(finished, "--beam-width", "2", "--num-best", "2", "--max-length", "1"),
        stdin=b"1 2\n3 4\n",
    )
    rows = [line.split("\t") for line in text.splitlines()]
    cut = {row[0] for row in rows if row[3:] == ["cut"]}
    assert code == 0
    assert cut
    assert all((len(row) == 4) == bool(row[2]) for row in rows)
    assert f"outputs of {len(cut)} of 2 lines were cut at 1 tokens" in told


def test_attention_is_told_of_runs_that_write_values_too(tiny, called, tmp_path):
    sizes = ("encoder.embedding_size=null", "decoder.embedding_size=null")
    prepared = tiny(*sizes, "decoder=luong", task="forecasting")
    assert run(prepared) == "FINISHED"
    folder, picture = prepared.folder.path, tmp_path / "a.png"
    line = " ".join(str(36000 + 500 * (n % 7)) for n in range(96))
    given = ("--json", "--attention", "--picture", picture)
    code, text, told = called(predict, folder, *given, stdin=line.encode())
    assert (code, f"the attention of line 1: {picture}\n" in told) == (0, True), told
    assert picture.read_bytes().startswith(b"\x89PNG")
    (output,) = json.loads(text)["outputs"]
    assert len(output["attention"]) == len(output["values"]) > 1
    for row in output["attention"]:
        assert len(row) == len(line.split())
        assert sum(row) == pytest.approx(1, abs=1e-5)
    code, text, _ = called(predict, folder, "--json", stdin=line.encode())
    assert (code, json.loads(text)["outputs"][0]["values"]) == (0, output["values"])
    assert "attention" not in text


def test_a_picture_of_a_run_without_attention_is_refused_before_anything_is_read(
    tiny, place, finished, called, tmp_path
):
    without = tiny("decoder=peek", output_dir=place)
    assert run(without) == "FINISHED"
    asked = ("--picture", tmp_path / "a.png")
    for runs in ((without.folder.path,), (finished, without.folder.path)):
        code, text, told = called(predict, *runs, tmp_path / "none.txt", *asked)
        assert (code, text) == (2, "")
        assert "this run has no attention to draw" in told


@pytest.mark.parametrize("message", WRONG)
def test_predict_refuses_in_one_message(finished, called, tmp_path, message):
    file = tmp_path / "sources.txt"
    file.write_text("1 2\n")
    given = [one.format(file=file, out=tmp_path) for one in WRONG[message]]
    code, text, told = called(predict, finished, *given)
    assert (code, text) == (2, "")
    assert message.format(out=tmp_path) in told
    assert told.count("error:") == 1


def test_evaluate_refuses_files_for_a_task_that_reads_none(finished, called, tmp_path):
    code, _, told = called(evaluate, finished, "--data", tmp_path / "a.tsv")
    assert (code, "reads no file" in told) == (2, True)
    code, _, told = called(evaluate, finished, "--skip-bad-lines")
    assert (code, "give --data FILE too" in told) == (2, True)


def test_evaluate_says_how_much_was_cut(finished, called):
    code, text, told = called(evaluate, finished, "--max-length", "1", "--json")
    record = json.loads(text)
    assert code == 0
    assert "max_length:1|" in record["signature"]
    assert 0 < record["met_limit"] <= 1
    assert "were cut at 1 tokens without an end" in told


def test_export_writes_weights_and_says_what_is_missing(finished, called, tmp_path, monkeypatch):
    pytest.importorskip("safetensors")
    pytest.importorskip("onnxscript")
    folder = tmp_path / "exported"
    code, text, _ = called(export, finished, "--to", folder, "--weights-only")
    assert code == 0
    assert sorted(text.split()) == sorted(str(path) for path in folder.iterdir())
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    code, _, told = called(export, finished, "--to", tmp_path / "other")
    assert (code, "pip install 'decoderlab[export]'" in told) == (2, True)


def test_export_says_how_to_try_what_it_wrote(finished, called, tmp_path, monkeypatch):
    folder = tmp_path / "of two words"
    folder.mkdir()
    (folder / "vocabulary.json").write_text('{"source": {"kind": "tokens"}}')
    monkeypatch.setattr(run_export, "export_run", lambda *_, **__: [folder / "run.py"])
    code, text, told = called(export, finished, "--to", folder)
    assert (code, text) == (0, f"{folder / 'run.py'}\n")
    assert told.startswith(f"try it with: python '{folder / 'run.py'}' 'a source'\n")
    assert called(export, finished, "--to", folder, "--weights-only") == (0, text, "")


@pytest.mark.parametrize("module", [predict, evaluate, export])
def test_help_has_examples(called, module):
    code, text, _ = called(module, "--help")
    assert code == 0
    assert "xamples:\n  " in text


def test_other_code_than_that_which_made_a_run_is_told(finished, called, monkeypatch):
    code, text, told = called(evaluate, finished, "--json")
    assert (code, "other code" in told) == (0, False)
    assert "code_changes" not in json.loads(text)
    made = code_changes.code_of
    edited = {"RecurrentDecoder": "x", "Added": "y"}  # of which only the first was there before
    monkeypatch.setattr(code_changes, "code_of", lambda parts: made(parts) | edited)
    code, text, told = called(evaluate, finished, "--json")
    (changed,) = json.loads(text)["code_changes"]
    assert changed == "RecurrentDecoder"
    assert f"was made by other code: {changed}" in " ".join(told.split())
    assert f"was made by other code: {changed}" in " ".join(called(predict, finished)[2].split())


@pytest.mark.parametrize(
    ("source", "example"),
    [
        ({"kind": "tokens"}, "'a source'"),
        ({"kind": "values", "mean": [1.0]}, "'0.5 0.5 0.5'"),
        ({"kind": "values", "mean": [1.0, 2.0]}, "'0.5,0.5 0.5,0.5 0.5,0.5'"),
        ({"kind": "images"}, "image.npy"),
    ],
)
def test_what_an_export_is_tried_with_is_what_it_reads(source, example):
    assert export._example(source) == example
    if source["kind"] == "values":
        scale = source | {"deviation": [1.0] * len(source["mean"])}
        read = exported_runner.read_values(shlex.split(example)[0], scale)
        assert read.shape == (1, 3, len(source["mean"]))
