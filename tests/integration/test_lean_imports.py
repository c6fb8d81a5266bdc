from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from decoderlab.metrics.shipped import our_scores
from tests.unit.studies import scored, study, write

WITHOUT = """
import sys
import decoderlab.training.module
assert "torchmetrics" in sys.modules
assert not {"scipy.signal", "matplotlib"} & set(sys.modules)
import torchmetrics
mean = torchmetrics.MeanMetric()
mean.update(1.0)
_, axes = mean.plot()
import matplotlib.axes
assert isinstance(axes, matplotlib.axes.Axes)
import scipy
import scipy.signal
assert scipy.signal.__spec__ is not None
assert len(scipy.signal.windows.hamming(3)) == 3
"""
BEFORE = """
import matplotlib.pyplot
import scipy.signal
import decoderlab.training.module
assert len(scipy.signal.windows.hamming(3)) == 3
import torchmetrics
assert torchmetrics.__spec__.origin == torchmetrics.__file__
assert torchmetrics.utilities.plot.plt is matplotlib.pyplot
"""
PLANNING = """
import sys
import decoderlab.cli.plan
from decoderlab.studies.execution import sweep
slow = {"scipy.stats", "statsmodels", "pandas", "matplotlib", "tensorboard"}
assert not slow & set(sys.modules), slow & set(sys.modules)
from decoderlab.studies.reporting import build
assert {"scipy.stats", "statsmodels", "pandas"} <= set(sys.modules)
"""

COMPILED = """
import sys
import decoderlab.training.train_and_test
import torch
from lightning_fabric.wrappers import OptimizedModule
model = torch.nn.Linear(2, 2)
optimizer = torch.optim.Adam(model.parameters())
def step():
    optimizer.zero_grad()
    model(torch.ones(2)).sum().backward()
    optimizer.step()
step()
assert not isinstance(model, OptimizedModule)
assert "torch._dynamo.eval_frame" not in sys.modules
compiled = torch.compile(model, backend="eager")
assert torch._dynamo is sys.modules["torch._dynamo"]
assert torch._dynamo.__spec__.origin == torch._dynamo.__file__
assert isinstance(compiled, OptimizedModule) and not isinstance(model, OptimizedModule)
assert torch.equal(compiled(torch.ones(2)), model(torch.ones(2)))
before = model.weight.clone()
torch.compile(step, backend="eager")()
assert not torch.equal(model.weight, before)
"""
ITS_PART = """
import decoderlab
import torch._dynamo.config
assert torch._dynamo.config.recompile_limit > 0
"""
ITS_PART_ONCE = """
import decoderlab
import torch._dynamo.exc
import torch._dynamo.symbolic_convert
assert torch._dynamo.symbolic_convert.exc is torch._dynamo.exc
assert torch._dynamo.exc.__spec__.origin == torch._dynamo.exc.__file__
"""
A_RUN = """
import sys
from decoderlab.cli import train
sys.argv = ["decoderlab-train", f"run.output_dir={sys.argv[1]}", "training.max_steps=2"]
sys.argv += ["task.num_train=50", "task.num_validation=9", "task.num_test=9"]
train.main()
assert not {"torch._dynamo.eval_frame", "sympy", "pandas", "scipy.signal"} & set(sys.modules)
"""


BESIDE_A_THREAD = """
import threading
import decoderlab
begun, ended, wrong = threading.Event(), threading.Event(), []
def write():
    while not ended.is_set():
        try:
            with open("events", "a") as file:
                file.write("x")
        except OSError as error:
            wrong.append(error)
        begun.set()
thread = threading.Thread(target=write)
thread.start()
begun.wait()
import matplotlib
ended.set()
thread.join()
assert matplotlib.rcParams["lines.linewidth"] == 1.5
assert wrong == []
"""


def test_matplotlib_is_imported_beside_threads_without_what_lies_in_the_working_folder(tmp_path):
    (tmp_path / "matplotlibrc").write_text("lines.linewidth: 77")
    words = [sys.executable, "-c", BESIDE_A_THREAD]
    subprocess.run(words, check=True, timeout=120, cwd=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events", "matplotlibrc"]


@pytest.mark.slow
def test_what_no_run_needs_is_not_imported_and_is_itself_when_it_is_asked_for():
    for code in (WITHOUT, BEFORE, COMPILED, ITS_PART, ITS_PART_ONCE, PLANNING):
        subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_run_imports_no_compiler(tmp_path):
    words = [sys.executable, "-c", A_RUN, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


COMMANDS = ("check", "complete", "doctor", "evaluate", "export", "plan", "predict", "report")
COMMANDS += ("schema", "status", "train")


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ([f"decoderlab.cli.{name}" for name in COMMANDS], "torch"),  # what --help imports
        (["decoderlab.studies.design.planned_and_run"], "torch"),  # and what status does
        ([f"decoderlab.studies.execution.{name}" for name in ("launchers", "sweep")], "matplotlib"),
    ],
)
def test_what_is_asked_often_imports_little(modules, heavy):
    code = f"import sys, {', '.join(modules)}\nassert {heavy!r} not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


STATUS = """
import sys
sys.argv = ["decoderlab-status", "--output-dir", sys.argv[1], "s"]
from decoderlab.cli import status
try:
    status.main()
finally:
    assert "torch" not in sys.modules
"""


def test_the_status_of_finished_runs_is_read_and_checked_without_torch(tmp_path):
    described = {name: our_scores()[name].record() for name in scored(0.5)}
    scores = {"a": [0.5, 0.6], "b": [0.7, 0.8]}
    plan = study(tmp_path, scores, result_changes={"scores": described})
    write(replace(plan, scores=described), tmp_path)
    words = [sys.executable, "-c", STATUS, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.stdout == "study s: 4 runs: 4 finished\n", done.stderr
    assert (done.returncode, done.stderr) == (0, "")
