"""Every preset names its paper, says which numbers are whose, has the paper's size, and trains."""

from __future__ import annotations

import re

import pytest
import torch

from decoderlab.common.folders import conf_dir
from decoderlab.config.run_config import RunConfig
from decoderlab.contract import ImageSpace, TokenSpace
from decoderlab.layers.equations import count
from decoderlab.training.assembly import build_networks
from decoderlab.training.optimizers import make_schedule, rate_factors
from decoderlab.training.prepared_run import prepare
from tests.conftest import composed, run, variants

PRESETS = [name for name in variants("preset") if name != "none"]
NAMED = {
    "sutskever2014",
    "cho2014",
    "show_and_tell2014",
    "bahdanau2015",
    "luong2015",
    "luong2015_input_feeding",
    "keras_addition",
    "brownlee2017_repeat_vector",
    "brownlee2017_attention",
    "lake2018_scan",
    "yao2015_g2p",
    "vinyals2015_conversation",
}


def size(name: str, source, target, *overrides: str) -> int:
    """Return the trained parameters of a preset, without torch's second bias vectors."""
    config = RunConfig.from_composed(composed(f"preset={name}", *overrides))
    with torch.device("meta"):
        networks = build_networks(config, source, target)
    second = sum(
        parameter.numel()
        for network in networks
        for key, parameter in network.named_parameters()
        if "bias_hh" in key and parameter.requires_grad
    )
    return count(*networks) - second


def test_the_papers_are_all_there():
    assert set(PRESETS) == NAMED


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_names_its_paper_and_marks_its_numbers(name):
    config = RunConfig.from_composed(composed(f"preset={name}"))
    paper = config.paper
    assert paper.section
    assert str(paper.year)[:2] == "20"
    assert paper.url.startswith("https://")
    assert paper.differs
    text = (conf_dir() / "preset" / f"{name}.yaml").read_text()
    assert f"preset={name}" in text
    for inherited in re.findall(r"^  - (\w+)$", text, re.M):
        if inherited in PRESETS:  # its numbers are this one's too
            text += (conf_dir() / "preset" / f"{inherited}.yaml").read_text()
    numbers = text[re.search(r"^(task|encoder|decoder|training):", text, re.M).start() :]
    for line in numbers.splitlines():
        if re.search(r": \S", line) and "max_steps: null" not in line:
            assert re.search(r"# (paper|ours)\b", line), f"whose is it? {line}"


@pytest.mark.thinned
@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_trains_when_it_is_made_small(tmp_path, name):
    small = [
        "task.num_train=40",
        "task.num_validation=10",
        "task.num_test=10",
        "training.max_epochs=null",
        "training.max_steps=2",
        "evaluation.every_steps=2",
        "logger=none",
        f"run.output_dir={tmp_path}",
    ]
    config = composed(f"preset={name}")
    for group in ("encoder", "decoder"):
        width = 4 if config[group].get("bidirectional") else 8
        small.append(f"{group}.hidden_size={width}")
        for key in ("embedding_size", "summary_size"):
            if config[group].get(key) is not None:
                small.append(f"{group}.{key}=8")
    config = composed(f"preset={name}", *small)
    prepared = prepare(config, config.hydra.runtime.choices)
    assert prepared.config.paper.year
    assert run(prepared) == "FINISHED"


def lstm(inputs: int, hidden: int) -> int:
    """Return an LSTM layer's parameters as Keras and the papers count them."""
    return 4 * hidden * (inputs + hidden + 1)


def gru(inputs: int, hidden: int) -> int:
    return 3 * hidden * (inputs + hidden + 1)


def test_sutskevers_model_has_384_million_parameters():
    found = size("sutskever2014", TokenSpace(160_000), TokenSpace(80_000))
    assert found == pytest.approx(384e6, rel=0.002)  # section 3.4


def test_keras_addition_is_as_large_as_in_keras():
    expected = lstm(12, 128) + lstm(128, 128) + 128 * 12 + 12
    assert size("keras_addition", TokenSpace(12), TokenSpace(12)) == expected == 205_324


@pytest.mark.parametrize("name", ["keras_addition", "brownlee2017_repeat_vector"])
def test_models_of_keras_train_one_bias_per_gate(name):
    config = RunConfig.from_composed(composed(f"preset={name}"))
    cells = [config.encoder["cell"].to_dict(), config.decoder["cell"].to_dict()]
    assert cells == [{"_target_": "decoderlab.layers.LSTM", "bias": "single"}] * 2
    swapped = RunConfig.from_composed(composed(f"preset={name}", "decoder/cell=gru"))
    assert swapped.decoder["cell"].to_dict() == {"_target_": "decoderlab.layers.GRU"}


def test_brownlees_model_is_as_large_as_in_keras():
    expected = lstm(12, 100) + lstm(100, 50) + 50 * 12 + 12
    assert size("brownlee2017_repeat_vector", TokenSpace(12), TokenSpace(12)) == expected


def test_the_articles_attention_decoder_has_its_matrices():
    values, h = 50, 150
    encoder = lstm(values, h)
    cell = gru(values + h, h)  # it sees its own softmax and the context
    start, scores = (h + 1) * h, h * h + h * h + h
    output = (values + h + h + 1) * values
    found = size("brownlee2017_attention", TokenSpace(values), TokenSpace(values))
    assert found == encoder + cell + start + scores + output


def test_chos_model_has_the_matrices_of_appendix_a():
    vocabulary, h, e = 15_000, 1000, 100
    encoder = vocabulary * e + gru(e, h) + (h + 1) * h
    decoder = vocabulary * e + (h + 1) * h + gru(e + h, h)
    output = (h + h + e + 1) * 2 * 500 + 500 * 100 + (100 + 1) * vocabulary
    found = size("cho2014", TokenSpace(vocabulary), TokenSpace(vocabulary))
    assert found == encoder + decoder + output


def test_bahdanaus_model_has_the_matrices_of_appendix_a():
    vocabulary, n, m, align, maxout = 30_000, 1000, 620, 1000, 500
    encoder = vocabulary * m + 2 * gru(m, n)
    decoder = vocabulary * m + (n + 1) * n + gru(m + 2 * n, n)
    alignment = n * align + 2 * n * align + align
    output = (n + 2 * n + m + 1) * 2 * maxout + (maxout + 1) * vocabulary
    found = size("bahdanau2015", TokenSpace(vocabulary), TokenSpace(vocabulary))
    assert found == encoder + decoder + alignment + output


def test_luongs_input_feeding_widens_the_first_layer_alone():
    spaces = TokenSpace(50_000), TokenSpace(50_000)
    without, with_it = (size(name, *spaces) for name in ("luong2015", "luong2015_input_feeding"))
    assert with_it - without == 4 * 1000 * 1000


def test_show_and_tell_gives_the_image_as_first_input():
    image, vocabulary = ImageSpace(1, 12, 36), TokenSpace(8)
    config = RunConfig.from_composed(composed("preset=show_and_tell2014"))
    assert config.decoder["routes"] == ("first_input",)
    assert config.decoder["hidden_size"] == config.decoder["embedding_size"] == 512
    encoder, _ = build_networks(config, image, vocabulary)
    decoder = 8 * 512 + (128 + 1) * 512 + lstm(512, 512) + (512 + 1) * 8
    assert size("show_and_tell2014", image, vocabulary) == count(encoder) + decoder


def test_the_other_models_have_the_sizes_that_their_papers_imply():
    tokens = TokenSpace(100)
    deep = lstm(1000, 1000) * 4
    expected = 2 * (100 * 1000 + deep) + 1000 * 1000 + 2 * 1000 * 1000 + 1001 * 100
    assert size("luong2015", tokens, tokens) == expected
    expected = 2 * (100 * 200 + lstm(200, 200) * 2) + 201 * 100
    assert size("lake2018_scan", tokens, tokens) == expected
    expected = 2 * (100 * 500 + lstm(500, 500) * 2) + 501 * 100
    assert size("yao2015_g2p", tokens, tokens) == expected
    expected = 2 * (100 * 1024 + lstm(1024, 1024)) + 1025 * 100
    assert size("vinyals2015_conversation", tokens, tokens) == expected


@pytest.mark.parametrize(
    ("name", "epochs", "whole"), [("luong2015", 12, 8), ("sutskever2014", 7.5, 5)]
)
def test_the_rate_is_halved_when_the_paper_says(name, epochs, whole):
    training = RunConfig.from_composed(composed(f"preset={name}")).training
    assert training.max_epochs == epochs
    total = training.total_steps(100)
    factor = rate_factors(training, make_schedule(training), total)
    rates = [factor(step) for step in range(total)]
    assert rates.count(1.0) == whole * 100, "no update too early and none too late"
    assert rates[-1] == 0.5 ** (4 if name == "luong2015" else 5)
