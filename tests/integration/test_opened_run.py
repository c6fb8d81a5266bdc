"""A run that is opened from its folder, and what is refused to be opened."""

from __future__ import annotations

import json

import pytest
import torch

from decoderlab import load_run
from decoderlab.common.errors import ConfigError, Invalid
from decoderlab.training.model_evaluation import evaluate
from decoderlab.usage.outputs import predict
from tests.conftest import run
from tests.forging import forge, reseal


def test_double_precision_stays_double_when_a_run_is_opened(tiny):
    prepared = tiny("training.precision=float64", "decoder=luong")
    assert run(prepared) == "FINISHED"
    loaded = load_run(prepared.folder.path)
    assert {p.dtype for p in loaded.module.parameters()} == {torch.float64}
    again = evaluate(loaded.module, loaded.task, "test", loaded.config)
    assert again == prepared.folder.result().metrics.test


def test_a_run_can_be_opened_and_predicts_what_it_recorded(tiny):
    prepared = tiny("decoder=luong")
    run(prepared)
    for data in (True, False):
        loaded = load_run(prepared.folder.path, data=data)
        recorded = [
            json.loads(line) for line in prepared.folder.predictions.read_text().splitlines()
        ]
        lines = [one["source"] for one in recorded]
        assert predict(loaded, lines) == [one["prediction"] for one in recorded]
        assert predict(loaded, ["", lines[0]]) == ["", recorded[0]["prediction"]]
    with pytest.warns(UserWarning, match="never seen in training, read as unknown: '77', '78'"):
        predict(loaded, ["77 78"])


@pytest.mark.parametrize("target", ["builtins.open", "decoderlab.records.run_folder.os.mkdir"])
@pytest.mark.fault(16)
def test_a_foreign_class_in_a_run_folder_is_not_built(tiny, tmp_path, target):
    prepared = tiny()
    run(prepared)
    canary = tmp_path / "canary"
    argument = {"builtins.open": {"file": str(canary), "mode": "w"}}
    task = {"_target_": target, **argument.get(target, {"path": str(canary)})}
    folder = forge(prepared.folder.path, {"task": task})
    for data in (True, False):
        with pytest.raises(ConfigError, match="--trust"):
            load_run(folder.path, data=data)
    assert not canary.exists()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("vocabularies", "{", "is no JSON"),
        ("vocabularies", "[]", "holds a list"),
        ("vocabularies", None, "is of other data"),
        ("config", "a: 1", "is damaged"),
        ("config", "- 1", "holds no mapping"),
    ],
)
@pytest.mark.fault(51)
def test_a_run_folder_that_was_edited_is_refused(tiny, name, text, message):
    prepared = tiny("training.max_steps=1")
    run(prepared)
    path = getattr(prepared.folder, name)
    if text is None:
        text = json.dumps(json.loads(path.read_text()) | {"fingerprint": "x"})
    path.write_text(text)
    with pytest.raises(Invalid, match=message if name == "config" else "has written"):
        load_run(prepared.folder.path, data=False)
    reseal(prepared.folder)
    with pytest.raises(Invalid, match=message):
        load_run(prepared.folder.path, data=False)


def test_a_long_line_costs_its_own_memory_alone(tiny, monkeypatch):
    prepared = tiny("training.max_steps=1")
    run(prepared)
    loaded = load_run(prepared.folder.path)
    shapes = []
    forward = type(loaded.module).forward

    def seen(self, source, *more):
        shapes.append(tuple(source.shape))
        return forward(self, source, *more)

    monkeypatch.setattr(type(loaded.module), "forward", seen)
    lines = ["1 2", "1 " * 500, "", "2 1", "3"]
    found = predict(loaded, lines)
    assert sorted(shapes) == [(1, 1), (1, 500), (2, 2)]
    assert found == [one for line in lines for one in predict(loaded, [line])]


def test_opening_what_is_no_run_says_so(tiny, tmp_path):
    with pytest.raises(ConfigError, match="not the folder of a finished run"):
        load_run(tmp_path)
    prepared = tiny()
    run(prepared)
    best = max(prepared.folder.checkpoints.glob("best-*.ckpt"))
    best.write_bytes(b"x")
    with pytest.raises(Invalid, match="damaged"):
        load_run(prepared.folder.path)
    prepared.folder.result_file.write_text("[]")
    with pytest.raises(Invalid):
        prepared.folder.result()
