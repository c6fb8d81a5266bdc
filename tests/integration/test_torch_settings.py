"""What holds for the whole process in torch: a run is computed as every run is, or refused."""

from __future__ import annotations

import sys
from functools import wraps
from types import FunctionType

import pytest
import pytorch_lightning as pl
import torch
from torch.nn.modules import module

from decoderlab import load_run, train
from decoderlab.common.errors import ConfigError
from decoderlab.common.torch_settings import check_torch, torch_as_before
from decoderlab.records.run_folder import RunFolder
from decoderlab.testing import check_decoder
from tests.conftest import TINY, run
from tests.contracts.honest import Honest
from tests.integration.cli import OWN_DECODER, SIZES, in_process

FORWARD = torch.nn.Linear.forward
# How somebody changes it, and what the message names.
CHANGES = {
    "dtype": (lambda: torch.set_default_dtype(torch.float64), "get_default_dtype"),
    "device": (lambda: torch.set_default_device("meta"), "get_default_device"),
    "products": (lambda: torch.set_float32_matmul_precision("medium"), "float32_matmul_precision"),
    "all products": (lambda: setattr(torch.backends, "fp32_precision", "tf32"), "precision"),
    "rnn": (lambda: setattr(torch.backends.mkldnn.rnn, "fp32_precision", "bf16"), "mkldnn.rnn"),
    "mixed calls": (
        lambda: setattr(torch.backends.cuda.matmul, "allow_tf32", True),
        "float32_matmul_precision",
    ),
    "onednn": (lambda: setattr(torch.backends.mkldnn, "enabled", False), "mkldnn.enabled"),
    "autocast": (lambda: torch.set_autocast_enabled("cpu", True), "is_autocast_enabled"),
    "denormal": (lambda: torch.set_flush_denormal(True), "set_flush_denormal"),
    "kernel": (lambda: torch.backends.cuda.enable_flash_sdp(False), "flash_sdp"),
    "a method": (
        lambda: setattr(
            torch.nn.Linear, "forward", wraps(FORWARD)(lambda self, x: FORWARD(self, x) / 2)
        ),
        "torch.nn.Linear.forward is a function of tests",
    ),
    "a function": (lambda: setattr(torch, "tanh", lambda x: x), "torch.tanh is a function of"),
    "a hook": (
        lambda: module.register_module_forward_hook(lambda owner, given, made: None),
        "_global_forward_hooks has hooks",
    ),
    "fast path": (lambda: torch.backends.mha.set_fastpath_enabled(False), "mha.get_fastpath"),
}


@pytest.fixture(autouse=True)
def as_before():
    check_torch()
    with torch_as_before():
        yield
    check_torch()  # so that everything can be set back


@pytest.mark.parametrize("name", CHANGES)
def test_a_process_that_computes_otherwise_trains_and_opens_nothing(tiny, tmp_path, name):
    change, named = CHANGES[name]
    settings = [*TINY, *SIZES, f"run.output_dir={tmp_path / 'mine'}"]
    prepared = tiny()
    change()
    with pytest.raises(ConfigError, match=f"{named}.* in this process, where (every|no) run has"):
        train(settings)
    with pytest.raises(ConfigError, match=named):
        load_run(prepared.folder.path)
    assert list(tmp_path.iterdir()) == []


def test_what_lightning_puts_in_place_under_either_name_is_taken(monkeypatch):
    wrapped = FunctionType(FORWARD.__code__, {"__name__": "lightning.fabric.wrappers"}, "compile")
    monkeypatch.setattr(torch, "compile", wrapped)
    check_torch()


class Changing(pl.Callback):
    """Changes something while a run is trained."""

    change = staticmethod(lambda: None)

    def on_train_batch_end(self, *_) -> None:
        self.change()


@pytest.mark.fault(31)
@pytest.mark.parametrize("name", [*CHANGES, "threads"])
def test_a_run_that_changes_it_fails_and_the_next_run_is_as_ever(tiny, tmp_path, monkeypatch, name):
    calls = CHANGES | {"threads": (lambda: torch.set_num_threads(3), "run.threads is 1")}
    change, named = calls[name]
    monkeypatch.setattr(Changing, "change", staticmethod(change))
    changing = tiny(f"+callbacks.mine._target_={__name__}.Changing")
    assert run(changing) == "FAILED"
    reason = changing.folder.recorded_status()["reason"]
    assert named in reason or name == "device"  # which fails by itself
    assert not changing.folder.result_file.exists()
    check_torch()
    after, alone = tiny(), tiny(output_dir=tmp_path / "alone")
    assert (run(after), run(alone)) == ("FINISHED", "FINISHED")
    first, second = (RunFolder(one.folder.path).result().metrics for one in (after, alone))
    assert first == second


@pytest.mark.parametrize("place", ["import", "constructor"])
def test_a_class_of_ones_own_that_changes_it_is_refused_before_a_sweep(
    tmp_path, monkeypatch, capsys, place
):
    line = "torch.set_default_dtype(torch.float64)"
    source = f"import torch\n{OWN_DECODER}"
    source += f"        {line}\n" if place == "constructor" else f"\n{line}\n"
    conf = tmp_path / "conf" / "decoder"
    conf.mkdir(parents=True)
    file = f"own_{place}"
    (conf.parent / f"{file}.py").write_text(source)
    (conf / "own.yaml").write_text(f"_target_: {file}.Own\n")
    code = in_process(
        monkeypatch,
        *("--config-dir", str(conf.parent), "-m", *TINY),
        *("encoder.hidden_size=8", "decoder=own,initial_state", "study.name=a"),
        f"run.output_dir={tmp_path / 'outputs'}",
    )
    assert code == 2
    assert "torch.get_default_dtype() is torch.float64" in capsys.readouterr().err
    assert not (tmp_path / "outputs").exists()
    sys.modules.pop(file, None)


class Doubling(Honest):
    def step(self, previous, state):
        torch.set_flush_denormal(True)
        return super().step(previous, state)


def test_the_battery_reports_a_decoder_that_changes_it():
    with pytest.raises(AssertionError, match="flush_denormal is True after it was built"):
        check_decoder(Doubling)
