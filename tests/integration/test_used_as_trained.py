"""Runs used as they were trained: in their precision, on their task, by their search."""

from __future__ import annotations

import math
from contextlib import nullcontext
from copy import copy

import pytest
import torch

from decoderlab import load_run
from decoderlab.common.errors import ConfigError
from decoderlab.training.loading import search_with
from decoderlab.training.model_evaluation import evaluate
from decoderlab.usage.ensemble import ensemble
from decoderlab.usage.outputs import predict, predict_outputs
from tests.conftest import composed, prepare, run, small
from tests.integration.test_using_runs import SETTINGS, prepared_run, write_pairs


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two seeds of one variant."""
    out = tmp_path_factory.mktemp("runs")
    file = write_pairs(out / "pairs.tsv")
    made = [prepared_run(out, file, f"seed={seed}", steps=2) for seed in (0, 1)]
    assert [run(each) for each in made] == ["FINISHED"] * 2
    return [each.folder.path for each in made]


@pytest.mark.parametrize("name", ["source_tokens", "target_text"])
def test_runs_that_read_or_write_otherwise_make_no_ensemble(folders, name):
    first, other = (load_run(path, data=False) for path in folders)
    backwards = copy(other.task)
    setattr(backwards, name, lambda given: getattr(other.task, name)(given)[::-1])
    with pytest.raises(ConfigError, match="run 2 has the vocabulary of run 1, but reads or writes"):
        ensemble([first, other._replace(task=backwards)])


def test_the_loss_of_an_ensemble_is_of_all_tokens(folders):
    first, other = (load_run(path) for path in folders)
    alone = evaluate(first.module, first.task, "test", first.config)
    twice = ensemble([first, load_run(folders[0])])
    assert evaluate(twice.module, first.task, "test", first.config) == pytest.approx(alone)
    both = ensemble([first, other]).module
    batch = next(iter(first.task.test_dataloader()))
    target = batch.target.clone()
    target[:, 0] = both.target_space.unk_id  # a token that training lacked

    def loss(module):
        encoded = module.encode(batch.source, batch.source_lengths)
        probabilities = module.decoder(encoded, target).double().softmax(dim=-1)
        return probabilities.gather(2, target.unsqueeze(2))

    with torch.no_grad():
        members = torch.stack([loss(first.module), loss(other.module)])
        assert torch.allclose(loss(both), members.mean(dim=0), atol=1e-6)


def test_an_ensemble_of_other_tasks_or_searches_says_so(folders):
    first, other = (load_run(path, data=False) for path in folders)
    task = other._replace(config=other.config.with_setting("task.max_source_length", 9))
    with pytest.warns(UserWarning, match=r"run 2 was trained on another task: task.max_source"):
        ensemble([first, task])
    with pytest.warns(UserWarning, match=r"run 2 was evaluated by beam:3\S*, run 1 by greedy"):
        ensemble([first, search_with(other, beam_width=3)])
    ensemble([first, other._replace(config=other.config.with_setting("task.data_seed", 9))])
    drawn = [
        search_with(one, temperature=1.0, seed=seed) for seed, one in enumerate((first, other))
    ]
    ensemble(drawn)  # each has the seed of its run


def test_values_in_float64_are_predicted_and_pictured(tmp_path, capsys):
    file = tmp_path / "series.csv"
    file.write_text("a\n" + "".join(f"{math.sin(step):.5f}\n" for step in range(90)))
    lengths = ("task.source_length=6", "task.target_length=3", "training.precision=float64")
    sizes = (*SETTINGS, *small("decoder", "luong"))
    out = (f"task.path={file}", f"run.output_dir={tmp_path}", "training.max_steps=2")
    made = []
    for seed in (0, 1):
        config = composed("task=forecasting_file", *sizes, *lengths, *out, f"seed={seed}")
        prepared = prepare(config, config.hydra.runtime.choices)
        assert run(prepared) == "FINISHED"
        made.append(load_run(prepared.folder.path))
    assert "no pictures" not in capsys.readouterr().err
    line = "0.1 0.2 0.3 0.4 0.5 0.6"
    joint = ensemble(made)
    (alone,), (both,) = (predict_outputs(one, [line])[0] for one in (made[0], joint))
    assert len(alone.values) == len(both.values) == 3
    assert evaluate(joint.module, joint.task, "test", joint.config)["mean_absolute_error"] > 0


@pytest.mark.parametrize("supported", [True, False])
def test_outputs_are_computed_as_when_the_run_was_evaluated(folders, monkeypatch, supported):
    folder, _ = folders
    if supported and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this CPU has no bfloat16")
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: supported)
    loaded = load_run(folder, data=False)
    seen = []
    loaded.module.encoder.register_forward_pre_hook(
        lambda *_: seen.append(torch.is_autocast_enabled("cpu"))
    )
    half = loaded._replace(config=loaded.config.with_setting("training.precision", "bfloat16"))
    predict(loaded, ["abc"])
    with nullcontext() if supported else pytest.warns(UserWarning, match="float32 is computed"):
        predict(half, ["abc"])
    assert seen == [False, supported]
