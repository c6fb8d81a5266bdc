"""Every folder of examples/plugins: its command runs, its class passes its battery, and trains."""

from __future__ import annotations

import doctest
import importlib
import itertools
import json
import re
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf

from decoderlab.cli import check
from decoderlab.common import process
from decoderlab.common.folders import conf_dir
from decoderlab.contract import TokenSpace
from decoderlab.data.task import Task
from decoderlab.layers.drawn_weights import initialise, watched
from tests.conftest import DRAWN, SMALL, TASKS, TINY, composed
from tests.integration.cli import in_process, tiny_arguments

ROOT = Path(__file__).parents[2]
PLUGINS = ROOT / "examples" / "plugins"
FOLDERS = sorted(path for path in PLUGINS.iterdir() if path.is_dir())
YAMLS = sorted(PLUGINS.rglob("*.yaml"))
# Every kind of extension has an example; a new kind is written here.
KINDS = {
    "bridge",
    "callback",
    "cell",
    "combination",
    "decay",
    "decoder",
    "distribution",
    "encoder",
    "feedback",
    "head",
    "initial_weights",
    "lexicon",
    "logger",
    "metric",
    "mixing",
    "objective",
    "optimizer",
    "pooling",
    "schedule",
    "score",
    "task",
}
# Kinds that have no battery.
BESIDE = {"callback", "initial_weights", "logger", "optimizer", "schedule", "task"}
# Groups of conf whose YAMLs name a class, and yet no example, each with the reason.
WITHOUT = {
    "decoder/base": "what the YAMLs of decoders share; nobody chooses it",
    "encoder/base": "what the YAMLs of encoders share; nobody chooses it",
    "hydra/launcher": "classes of Hydra's, which has a guide to plug-ins of its own",
    "hydra/sweeper": "classes of Hydra's, which has a guide to plug-ins of its own",
}
# Of real values, which have no beam.
SERIES = ("task.source_length=12", "task.target_length=4", "evaluation.beam_width=1")
NARROW = SMALL | {"hidden_size": 8, "embedding_size": 8}


@pytest.fixture(autouse=True)
def _path(monkeypatch):
    """Forget the folder that --config-dir has put on the path, and what was imported from it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(process, "user_config_dir", None)
    monkeypatch.chdir(ROOT)
    yield
    for path in PLUGINS.rglob("*.py"):
        sys.modules.pop(path.stem, None)


def of(kind: str, monkeypatch) -> object:
    """Return the module of a plugin."""
    monkeypatch.syspath_prepend(PLUGINS / kind)
    (path,) = (PLUGINS / kind).glob("*.py")
    return importlib.import_module(path.stem)


def command_of(folder: Path) -> list[str]:
    """Return the settings of the one command in a README, without its --config-dir."""
    (line,) = re.findall(r"`(decoderlab-train .*)`", (folder / "README.md").read_text())
    _, option, path, *settings = shlex.split(line)
    assert (option, ROOT / path) == ("--config-dir", folder)
    return settings


def checked(settings: list[str]) -> list[str]:
    """Return the settings that decoderlab-check has batteries for, those of parts among them."""
    kinds = r"\+?(encoder|decoder|metric|training/objective)\W"
    return [one for one in settings if re.match(kinds, one)]


def sizes(folder: Path, settings: list[str], monkeypatch) -> list[str]:
    """Return the settings that make encoder and decoder small."""
    monkeypatch.setattr(process, "user_config_dir", str(folder))
    config = composed(*settings)
    return [
        f"{group}.{key}={size}"
        for group in ("encoder", "decoder")
        for key, size in NARROW.items()
        if config[group].get(key) is not None
    ]


def test_every_kind_has_an_example():
    assert {folder.name for folder in FOLDERS} == KINDS


def test_every_group_whose_yamls_name_a_class_has_an_example():
    def groups(folder: Path) -> set[str]:
        """Return the groups below a folder in which some YAML names a class."""
        named = re.compile(r"^\s*_target_:", re.MULTILINE)
        paths = (path for path in folder.rglob("*.yaml") if named.search(path.read_text()))
        return {str(path.parent.relative_to(folder)) for path in paths}

    ours = groups(conf_dir())
    assert {"decoder/attention/mixing", "training/initial_weights", "logger"} < ours
    examples = set().union(*map(groups, FOLDERS))
    assert examples.isdisjoint(WITHOUT)
    assert ours == examples | set(WITHOUT)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_folder_is_a_file_its_yamls_and_a_readme_of_three_lines(folder):
    files = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    files = {path for path in files if "__pycache__" not in path.parts}
    (code,) = (path for path in files if path.suffix == ".py")
    assert len((folder / "README.md").read_text().splitlines()) == 3
    yamls = {path for path in files if path.suffix == ".yaml"}
    assert yamls
    assert files == {code, Path("README.md")} | yamls
    assert all(f"_target_: {code.stem}." in (folder / path).read_text() for path in yamls)


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: str(path.relative_to(PLUGINS)))
def test_a_yaml_says_what_it_is_and_how_it_is_run(path):
    header = "".join(line for line in path.read_text().splitlines(True) if line.startswith("#"))
    folder = path.relative_to(PLUGINS).parts[0]
    assert "# decoderlab-train" in header
    assert f"--config-dir examples/plugins/{folder}" in header
    assert f"={path.stem}" in header


@pytest.mark.thinned
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_it_passes_the_battery(folder, monkeypatch, capsys):
    settings = checked(command_of(folder))
    named = {name for one in settings if "." not in (name := one.partition("=")[0]).split("@")[0]}
    assert bool(named) == (folder.name not in BESIDE)
    if named:
        given = [*settings, *sizes(folder, settings, monkeypatch)]
        arguments = ["decoderlab-check", *given, "--config-dir", str(folder)]
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as stop:
            check.main()
        printed = capsys.readouterr()
        assert stop.value.code == 0, printed.out + printed.err
        assert printed.out.count(" 0 failed") == len(named)


@pytest.mark.thinned
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_its_command_trains(folder, monkeypatch, capfd, tmp_path):
    settings = command_of(folder)
    small = sizes(folder, settings, monkeypatch)
    # What the command says comes last: a tiny run has no logger, for one.
    task = TASKS["echo"] if not any(one.startswith("task=") for one in settings) else ()
    steps = ("training.max_steps=2", "evaluation.every_steps=1", "evaluation.beam_width=2")
    data = SERIES if "task=forecasting" in settings else DRAWN
    tiny = TINY[len(DRAWN) :]
    arguments = (*task, *tiny, *small, *steps, *data, f"run.output_dir={tmp_path}")
    code = in_process(monkeypatch, "--config-dir", str(folder), *arguments, *settings)
    assert code == 0, capfd.readouterr().err
    (path,) = (tmp_path / "runs").iterdir()
    assert json.loads((path / "result.json").read_text())["steps"] == 2
    (code,) = folder.glob("*.py")
    assert f"_target_: {code.stem}." in (path / "config.yaml").read_text()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_examples_in_its_docstrings_hold(folder, monkeypatch):
    assert doctest.testmod(of(folder.name, monkeypatch)).failed == 0


def test_the_strength_of_the_cosine_is_of_the_query_and_lengths_do_not_count(monkeypatch):
    score = of("score", monkeypatch).CosineScore(query_size=4, memory_size=3, least_strength=2)
    query, memory = torch.randn(2, 5, 4), torch.randn(2, 6, 3)
    scores = score(query, score.keys(memory))
    assert torch.allclose(scores, score(query, score.keys(7 * memory)), atol=1e-6)
    strength = 2 + torch.nn.functional.softplus(score.strength(query))
    assert (scores.abs() <= strength + 1e-6).all()
    own = score.project_query(query)
    aligned = score(query, score.keys(own)).diagonal(dim1=1, dim2=2)
    assert torch.allclose(aligned, strength.squeeze(-1), atol=1e-6)


def test_a_mixture_is_of_normalised_softmaxes_and_of_a_higher_rank(monkeypatch):
    make = of("head", monkeypatch).MixtureOfSoftmaxes
    sizes = {"features_size": 2, "hidden_size": 2, "target_space": TokenSpace(30)}
    features = torch.randn(40, 2, dtype=torch.float64)
    ranks = {}
    for number in (1, 4):
        head = make(num_softmaxes=number, **sizes).double()
        for parameter in head.parameters():
            torch.nn.init.normal_(parameter, std=2)
        outputs = head(features)
        assert torch.allclose(outputs.exp().sum(-1), torch.ones(40, dtype=torch.float64))
        ranks[number] = int(torch.linalg.matrix_rank(outputs, rtol=1e-6))
    # Yang et al. 2018: the width, one for the bias and one for the normalisation.
    assert ranks[1] <= 4 < ranks[4]


def test_a_lexicon_biases_the_logits_of_what_attention_reads(monkeypatch):
    module = of("lexicon", monkeypatch)
    alignment = torch.tensor([-1, -1, -1, -1, 6, 4, -1])  # source id 6 is no token of targets
    spaces = {"target_space": TokenSpace(8), "source_space": TokenSpace(7)}
    head = module.LexiconHead(features_size=3, alignment=alignment, **spaces).double()
    features = torch.randn(2, 4, 3, dtype=torch.float64)
    source = torch.tensor([[4, 5, 4, 6], [5, 5, 5, 5]])
    weights = torch.softmax(torch.randn(2, 4, 4, dtype=torch.float64), dim=-1)
    outputs = head(features, read=module.SourceRead(source, weights))
    translated = torch.full((2, 4, 8), 0.001, dtype=torch.float64)
    for row, step, position in itertools.product(range(2), range(4), range(4)):
        if (token := alignment[source[row, position]]) >= 0:
            translated[row, step, token] += weights[row, step, position]
    assert torch.allclose(outputs, head.output(features) + translated.log())
    with pytest.raises(ValueError, match="take decoder/head=linear"):
        module.LexiconHead(features_size=3, **spaces)


def test_an_update_of_lion_is_the_papers(monkeypatch):
    weight, gradients = torch.nn.Parameter(torch.tensor([1.0, -2.0])), [[3.0, -1.0], [-0.1, 2.0]]
    optimizer = of("optimizer", monkeypatch).Lion([weight], lr=0.1, weight_decay=0.5)
    expected, average = weight.detach().clone(), torch.zeros(2)
    for gradient in map(torch.tensor, gradients):
        weight.grad = gradient
        optimizer.step()
        moved = torch.sign(0.9 * average + 0.1 * gradient)
        expected = expected - 0.1 * (moved + 0.5 * expected)
        average = 0.99 * average + 0.01 * gradient
        torch.testing.assert_close(weight.detach(), expected)
    with pytest.raises(ValueError, match="betas is"):
        of("optimizer", monkeypatch).Lion([weight], betas=(0.9, 1.0))


def test_laplaces_density_is_torchs_and_training_makes_it_small(monkeypatch):
    made = of("distribution", monkeypatch).Laplace()
    outputs, target = torch.randn(2, 3, 8), torch.randn(2, 3, 4)
    mean, scale = outputs[..., :4], outputs[..., 4:].exp()
    expected = -torch.distributions.Laplace(mean, scale).log_prob(target)
    torch.testing.assert_close(made.nats(outputs, target), expected)


def test_attention_on_attention_is_torchs_gated_linear_unit(monkeypatch):
    mixing = of("mixing", monkeypatch).AttentionOnAttention(query_size=3, memory_size=2)
    context, states = torch.randn(4, 5, 2), torch.randn(4, 5, 3)
    both = torch.cat([context, states], dim=-1)
    halves = torch.cat([mixing.information(both), mixing.gate(both)], dim=-1)
    torch.testing.assert_close(mixing(context, states, None), torch.nn.functional.glu(halves))


def test_half_a_cosine_is_torchs_schedule(monkeypatch):
    decay = of("decay", monkeypatch).HalfCosine(decay_steps=4)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
    rates = []
    for _ in range(5):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert [decay(step) for step in range(5)] == pytest.approx(rates)
    assert decay(9) == 0


def test_weights_of_a_truncated_normal_are_small_and_biases_zero(monkeypatch):
    scheme = of("initial_weights", monkeypatch).TruncatedNormal(scale=0.1)
    with watched() as drawn:
        model = torch.nn.Sequential(torch.nn.Linear(100, 50), torch.nn.LayerNorm(50))
    initialise(model, drawn, 0, scheme=scheme)
    weight = model[0].weight.detach()
    assert weight.abs().max() <= 0.2
    assert weight.std() == pytest.approx(0.088, rel=0.05), "what is left of 0.1 after the cut"
    assert not model[0].bias.any()
    assert (model[1].weight == 1).all()
    with pytest.raises(ValueError, match="scale is 0"):
        of("initial_weights", monkeypatch).TruncatedNormal(scale=0)


def test_word_dropout_replaces_its_share_and_throws_the_coins_of_its_update(monkeypatch):
    space = TokenSpace(9)
    feedback = of("feedback", monkeypatch).WordDropout(target_space=space, ratio=0.4)
    before = torch.randint(4, 9, (100, 50))
    before[:, 0], before[:, -5:] = space.bos_id, space.pad_id
    feedback.at_step(3, seed=5)
    seen = feedback.inputs(before)
    words = before >= 4
    assert torch.equal(seen[~words], before[~words])
    replaced = seen != before
    assert (seen[replaced] == space.unk_id).all()
    assert 0.35 < replaced.sum() / words.sum() < 0.45
    assert not torch.equal(feedback.inputs(before), seen)
    feedback.at_step(3, seed=5)
    assert torch.equal(feedback.inputs(before), seen)


def test_brackets_that_are_left_open_are_closed(monkeypatch):
    module = of("task", monkeypatch)
    settings = OmegaConf.to_container(OmegaConf.load(PLUGINS / "task/task/dyck.yaml"))
    del settings["_target_"]
    task = module.DyckTask(**settings)
    assert isinstance(task, Task)
    rows = [row for split in task.examples()[0].values() for row in split]
    assert len({row.source for row in rows}) == len(rows) == 21500
    assert {len(row.source) for row in rows} == set(range(1, 17))
    for row in rows[:500]:
        word = "".join([*row.source, *row.target])
        while (shorter := re.sub(r"\(\)|\[\]|\{\}", "", word)) != word:
            word = shorter
        assert word == ""
    with pytest.raises(ValueError, match="larger for 21500 different examples"):
        module.DyckTask(**settings | {"max_length": 9})


def test_the_noise_falls_and_depends_on_seed_and_update_alone(monkeypatch):
    callback = of("callback", monkeypatch).GradientNoise(eta=0.5, gamma=2)
    model = torch.nn.Linear(100, 100)
    model.seed = 3

    def noise(step: int) -> torch.Tensor:
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        callback.on_before_optimizer_step(SimpleNamespace(global_step=step), model, None)
        return model.get_parameter("weight").grad.clone()

    for step in (0, 1, 9):
        assert noise(step).std() == pytest.approx((0.5 / (1 + step) ** 2) ** 0.5, rel=0.05)
    assert torch.equal(noise(4), noise(4))
    assert not torch.allclose(noise(0), 2 * noise(1))
    with pytest.raises(ValueError, match="eta is 0"):
        of("callback", monkeypatch).GradientNoise(eta=0)


def test_the_logger_has_what_the_run_records(tmp_path, monkeypatch):
    settings = ["--config-dir", "examples/plugins/logger", *command_of(PLUGINS / "logger")]
    assert in_process(monkeypatch, *tiny_arguments(tmp_path), *settings) == 0
    (path,) = (tmp_path / "runs").iterdir()
    first, *logged = map(json.loads, (path / "logged.jsonl").read_text().splitlines())
    assert first["seed"] == 0
    losses = {line["step"]: line["train/loss"] for line in logged if "train/loss" in line}
    recorded = map(json.loads, (path / "metrics.jsonl").read_text().splitlines())
    expected = {line["step"]: line["train/loss"] for line in recorded if "train/loss" in line}
    assert losses == pytest.approx(expected)
    assert len(losses) == 12
