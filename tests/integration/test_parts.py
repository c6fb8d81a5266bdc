"""A part of one's own, from a folder given with --config-dir: the example of docs/strategies.md."""

from __future__ import annotations

import json
import re

import pytest

from tests.integration.cli import forked
from tests.integration.test_packaging import ROOT

SMALL = ("task=echo", "task.num_train=50", "task.num_validation=10", "task.num_test=10")
SMALL += ("training.max_steps=2", "training.max_epochs=null", "evaluation.every_steps=2")
SMALL += ("encoder.hidden_size=8", "decoder.hidden_size=8", "logger=none")


@pytest.mark.slow
def test_the_score_of_the_docs_is_trained_printed_and_checked(tmp_path):
    text = (ROOT / "docs" / "strategies.md").read_text()
    (code,) = re.findall(r"```python\n(.*?class BilinearTanh.*?)```", text, re.DOTALL)
    (yaml,) = re.findall(r"```yaml\n# my_conf/(.*?)```", text, re.DOTALL)
    name, yaml = yaml.split("\n", 1)
    folder = tmp_path / "my_conf"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text(yaml)
    (folder / "my_score.py").write_text(code)
    given, own = ("decoder=luong", "decoder/attention=bilinear_tanh"), ("--config-dir", str(folder))
    trained = forked("train", *SMALL, f"run.output_dir={tmp_path / 'outputs'}", *given, *own)
    assert trained.returncode == 0, trained.stderr
    (result,) = (tmp_path / "outputs").glob("runs/*/result.json")
    assert json.loads(result.read_text())["steps"] == 2
    scaled = (*given, "+decoder.attention.score.scale=2")
    printed = forked("plan", *SMALL, *scaled, *own, "--equations")
    assert "2 tanh(s_t W_a m_j)" in printed.stdout, printed.stderr
    checked = forked("check", "encoder=lstm", *scaled, *own)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.count("0 failed") == 3  # the score, the encoder, the decoder
