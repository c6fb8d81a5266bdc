"""Exported runs: the runner alone predicts what the run predicts; who cannot is told why."""

from __future__ import annotations

import errno
import json
import re
import runpy
import subprocess
import sys
import unicodedata
from types import SimpleNamespace

import pytest
import torch

from decoderlab import load_run
from decoderlab.common.errors import ConfigError
from decoderlab.data.values import Values
from decoderlab.data.vocabulary import Vocabulary
from decoderlab.layers.recurrent_stack import RecurrentLayers
from decoderlab.training.assembly import build_model
from decoderlab.usage import run_export
from decoderlab.usage.exported_runner import greedy_output
from decoderlab.usage.outputs import predict
from decoderlab.usage.run_export import _whole, export_run
from decoderlab.usage.runner_of_export import (
    _composes,
    _read_otherwise,
    _side,
    _split,
    _target_length,
    runner,
)
from decoderlab.usage.scanned_layers import scanned
from tests.conftest import CELLS, run

onnxruntime = pytest.importorskip("onnxruntime")
safetensors_torch = pytest.importorskip("safetensors.torch")
pytest.importorskip("onnxscript")

# The exporters of torch warn about their own deprecations.
pytestmark = pytest.mark.filterwarnings("ignore")
SLOW = pytest.mark.slow
LINES = ["1 2", "3", "2 2 1 0", "", "5 4 3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("export")


def exported(tiny, folder, *settings):
    prepared = tiny(*settings, output_dir=folder)
    assert run(prepared) == "FINISHED"
    loaded = load_run(prepared.folder.path, data=False)
    place = folder / prepared.run_id[:12]
    return loaded, place, export_run(loaded, place)


def outputs_of_runner(place, lines):
    """Run the exported runner where decoderlab cannot be imported."""
    blocked = "import sys; sys.modules['decoderlab'] = sys.modules['torch'] = None; "
    code = (
        f"import runpy; {blocked}sys.argv = ['run.py']; runpy.run_path('run.py', None, '__main__')"
    )
    made = subprocess.run(
        [sys.executable, "-c", code],
        input="".join(f"{line}\n" for line in lines),
        capture_output=True,
        text=True,
        cwd=place,
    )
    assert made.returncode == 0, made.stderr
    return made.stdout.splitlines()


SCANS = [
    *(
        pytest.param(cell, {"zoneout": 0.5}, marks=[] if cell == "stack" else SLOW)
        for cell in CELLS
    ),
    *(
        pytest.param(cell, settings, marks=SLOW)
        for cell in CELLS
        for settings in (
            {},
            {"zoneout": 0.3, "num_layers": 2, "bidirectional": True, "residual": True},
            {"variational_dropout": 0.3, "dropout": 0.2, "num_layers": 2},
        )
    ),
]


@pytest.mark.parametrize(("cell", "settings"), SCANS)
def test_a_scan_reads_as_the_layers_do(cell, settings):
    layers = RecurrentLayers(cell=CELLS[cell], input_size=3, hidden_size=4, **settings).eval()
    inputs = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted, last = layers(inputs)
        read, after = scanned(layers)(inputs)
        again, _ = layers(inputs)  # whose own are as they were
    torch.testing.assert_close(read, wanted)
    torch.testing.assert_close(after.hidden, last.hidden)
    assert torch.equal(again, wanted)


@pytest.mark.parametrize("part", ["summary", "memory", "state"])
def test_a_scan_that_reads_otherwise_is_refused(tiny, folder, monkeypatch, part):
    prepared = tiny()
    model = build_model(prepared.config, prepared.task).eval()
    loaded = SimpleNamespace(module=model, task=prepared.task)

    def more(read):
        value = getattr(read, part)
        return value.map(lambda tensor: tensor + 1) if part == "state" else value + 1

    def changed(encoder):
        other = scanned(encoder)
        other.register_forward_hook(lambda *given: given[2]._replace(**{part: more(given[2])}))
        return other

    monkeypatch.setattr(run_export, "scanned", changed)
    with pytest.raises(ConfigError, match="cannot be exported: AssertionError"):
        export_run(loaded, folder / "changed")
    assert not (folder / "changed").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        ("decoder=luong",),
        ("encoder/cell=stack", "encoder.zoneout=0.5"),
        ("encoder.zoneout=0.5", "decoder.zoneout=0.3"),
        ("encoder=bilstm", "decoder=bahdanau2015", "decoder/bridge=dense"),
        ("encoder/cell=gru_reset_before", "decoder/cell=gru_reset_before"),
    ],
    ids=lambda settings: settings[0],
)
def test_the_runner_predicts_what_the_run_predicts(tiny, folder, settings):
    loaded, place, files = exported(tiny, folder, *settings)
    names = ("encode", "start", "step", "reorder", "features")
    wanted = {f"{name}.{kind}" for name in names for kind in ("pt2", "onnx")}
    wanted |= {"vocabulary.json", "model.safetensors", "encoder.safetensors", "run.py"}
    assert {path.name for path in files} == wanted
    assert outputs_of_runner(place, LINES) == predict(loaded, LINES)
    weights = safetensors_torch.load_file(place / "model.safetensors")
    own = loaded.module.state_dict()
    assert weights.keys() <= own.keys()
    assert all(torch.equal(value, own[name]) for name, value in weights.items())
    about = json.loads((place / "vocabulary.json").read_text())
    ids = torch.tensor([[about["source"]["ids"][token] for token in ("1", "2", "3")]])
    with torch.no_grad():
        encoded = loaded.module.encode(ids, torch.tensor([3]))
        summary, _ = torch.export.load(place / "features.pt2").module()(ids)
    session = onnxruntime.InferenceSession(place / "features.onnx")
    alone, memory = session.run(None, {"source": ids.numpy()})
    assert torch.allclose(summary, encoded.summary, atol=1e-5)
    assert torch.allclose(torch.from_numpy(alone), encoded.summary, atol=1e-5)
    assert torch.allclose(torch.from_numpy(memory), encoded.memory, atol=1e-5)
    with pytest.raises(ConfigError, match="is there already"):
        export_run(loaded, place)


@pytest.mark.parametrize(
    ("decoder", "why"),
    [("transformer", "grows with every step"), ("feedforward", "keeps a number")],
)
def test_who_cannot_be_exported_is_told_why_and_gets_the_weights(tiny, folder, decoder, why):
    prepared = tiny(f"decoder={decoder}", output_dir=folder)
    assert run(prepared) == "FINISHED"
    loaded = load_run(prepared.folder.path, data=False)
    with pytest.raises(ConfigError, match=f"cannot be exported.*{why}.*--weights-only"):
        export_run(loaded, folder / decoder)
    assert not (folder / decoder).exists()
    files = export_run(loaded, folder / decoder, weights_only=True)
    assert [path.name for path in files] == [
        "encoder.safetensors",
        "model.safetensors",
        "vocabulary.json",
    ]


def test_a_line_that_the_runner_cannot_split_is_no_silent_one(capsys):
    source = {"kind": "tokens", "nfc": True, "split": None, "unk_id": 3, "ids": {"a": 4, "b": 5}}
    target = {"kind": "tokens", "bos_id": 1, "eos_id": 2, "never_generated": [0], "join": " "}
    target |= {"glue": " ##", "tokens": ["", "", "", "", "x", "##\x1b"]}
    steps = iter([4, 5, 2])

    def program(name, *arrays):
        return [torch.eye(6)[next(steps)][None].numpy()] if name == "step" else []

    made = greedy_output("a c\x1b", program, source=source, target=target, max_length=5)
    assert made == "x\x1b"
    assert capsys.readouterr().err == "warning: never seen in training, read as unknown: 'c\\x1b'\n"


@pytest.mark.parametrize(("length", "wanted"), [("same", 4), ("source", 2), ("other", 4)])
def test_the_runner_writes_as_many_values_and_digits_as_the_run(length, wanted):
    values = Values([1e6, 0.0], [2.0, 1.0])
    task = SimpleNamespace(data=SimpleNamespace(max_target_length=4))
    task.target_length = {"same": lambda n: 4, "source": lambda n: n, "other": lambda n: 2 * n}[
        length
    ]
    side = _side(values) | {"length": _target_length(task)}
    assert side["length"] == length
    outputs = torch.tensor([[0.51, 1 / 3, 9.0]]).numpy()  # with a deviation, which is no output

    def program(name, *arrays):
        return [outputs] if name == "step" else []

    line = "1000001.02,0.333333 1000003,2"
    made = greedy_output(line, program, source=_side(values), target=side, max_length=4)
    assert made == values.text(outputs[:1, :2].repeat(wanted, 0))


@pytest.mark.parametrize(
    ("tokens", "composes"),
    [
        (lambda text: list(unicodedata.normalize("NFC", text)), True),
        (lambda text: list(text), False),
        (lambda text: int(text), False),
    ],
)
def test_an_export_says_whether_the_task_composes_letters(tokens, composes):
    assert _composes(SimpleNamespace(source_tokens=tokens)) is composes


@pytest.mark.parametrize("notes", [[], ["greedy outputs", "float32"]])
def test_the_runner_says_in_what_it_is_another(tmp_path, monkeypatch, capsys, notes):
    about = {"source": {}, "target": {}, "max_length": 3, "notes": notes}
    (tmp_path / "vocabulary.json").write_text(json.dumps(about))
    (tmp_path / "run.py").write_text(runner("tokens", "tokens"))
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda path: None)
    monkeypatch.setattr(sys, "argv", ["run.py", " "])
    runpy.run_path(str(tmp_path / "run.py"), run_name="__main__")
    told = capsys.readouterr()
    assert told.out == "\n"
    assert told.err.splitlines() == [f"warning: {note}" for note in notes]


def test_the_runner_says_how_it_is_used_before_it_loads_anything(tmp_path):
    (tmp_path / "run.py").write_text(runner("tokens", "tokens"))
    command = [sys.executable, str(tmp_path / "run.py"), "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 'python run.py "a source" ...' in told.stdout


CAPITALS = (
    "'ABCDEF' is ['a', 'b', 'c', 'd', 'e', 'f'] there and ['A', 'B', 'C', 'D', 'E', 'F'] here"
)


@pytest.mark.parametrize(
    ("split", "reads", "said"),
    [
        ("", list, ""),
        ("", lambda text: list(text.lower()), CAPITALS),
        ("", lambda text: list(text.strip()), "' a  b ' is ['a', ' ', ' ', 'b'] there"),
        ("", lambda text: list(text.replace("b", "")), "'abcdef' is ['a', 'c', 'd'"),
        (None, str.split, ""),
        (None, lambda text: text.replace(",", " ,").split(), "'ab,cd' is ['ab', ',cd'] there"),
        (None, lambda text: re.sub(r"[0-9]", "0", text).split(), "'1,234.5' is ['0,000.0'] there"),
        ("-", lambda text: [part for part in text.split("-") if part], ""),
    ],
)
def test_a_line_that_the_task_reads_otherwise_is_told(split, reads, said):
    vocabulary = Vocabulary("abcdef")
    found = _read_otherwise(SimpleNamespace(source_tokens=reads), vocabulary, split)
    assert found.startswith(said) if said else found == ""


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("evaluation.beam_width=3",), "generates by beam:3|length_penalty:0.0"),
        (("evaluation.temperature=1.0",), "generates by sample:temperature:1.0|seed:0"),
        (("training.precision=bfloat16",), "bfloat16 by decoderlab-predict"),
        ((), None),
    ],
)
def test_what_the_runner_does_otherwise_is_exported(tiny, folder, monkeypatch, settings, said):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    prepared = tiny("training.max_steps=1", *settings, output_dir=folder)
    loaded = SimpleNamespace(
        task=prepared.task,
        config=prepared.config,
        result=SimpleNamespace(run_id="r"),
        module=build_model(prepared.config, prepared.task),
    )
    notes = run_export.description(loaded)["notes"]
    assert len(notes) == (said is not None)
    assert said is None or said in notes[0]


@pytest.mark.parametrize(
    ("tokens", "alike"),
    [
        (lambda text: list(text), True),
        (lambda text: text.split(), True),
        (lambda text: list(text[::-1]), False),
        (lambda text: text.split()[::-1], False),
        (lambda text: [text[:1], *text], False),
    ],
)
def test_an_export_says_whether_its_runner_splits_as_the_task_does(tokens, alike):
    task = SimpleNamespace(source_tokens=tokens)
    assert (_read_otherwise(task, Vocabulary("abc"), _split(task)) == "") is alike


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_an_export_is_whole_or_not_there(tmp_path, error):
    place = tmp_path / "there"

    def broken_off():
        with _whole(place) as incomplete:
            (incomplete / "vocabulary.json").write_text("{")
            raise error

    with pytest.raises(type(error)):
        broken_off()
    assert not list(tmp_path.iterdir())
    place.mkdir()
    with _whole(place) as incomplete:
        (incomplete / "vocabulary.json").write_text("{}")
        assert not list(place.iterdir())
    assert [path.name for path in place.iterdir()] == ["vocabulary.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


@pytest.mark.parametrize(
    ("source", "target", "most"),
    [("tokens", "tokens", 42), ("images", "tokens", 39), ("values", "values", 42)],
)
def test_the_runner_is_short_and_has_what_its_data_need(source, target, most):
    text = runner(source, target)
    lines = [line.strip() for line in text.splitlines()]
    assert sum(bool(line) and not line.startswith('"""') for line in lines) <= most
    assert set(re.findall(r"def (read|write)_(\w+)", text)) == {("read", source), ("write", target)}
    compile(text, "run.py", "exec")


@pytest.mark.parametrize(
    ("split", "wanted"), [(None, [[4, 5]]), (" ", [[4, 5]]), ("", [[4, 3, 3, 5]])]
)
def test_the_runner_cuts_a_line_as_the_task_does(split, wanted):
    read = []

    def program(name, *arrays):
        if name == "encode":
            read.append(arrays[0].tolist())
        return [torch.eye(4)[2:3].numpy()] if name == "step" else []  # EOS at once

    source = {"kind": "tokens", "nfc": True, "split": split, "unk_id": 3, "ids": {"a": 4, "b": 5}}
    target = {"kind": "tokens", "bos_id": 1, "eos_id": 2, "never_generated": [0], "join": ""}
    assert greedy_output("a  b", program, source=source, target=target, max_length=5) == ""
    assert read == [wanted]
