"""A signal that comes while a library is half way through something is still told as a signal."""

from __future__ import annotations

import signal
from contextlib import suppress

import pytest
from omegaconf import ListConfig

from decoderlab.common.errors import ConfigError
from decoderlab.common.process import hidden_interrupt, telling_interrupts
from tests.integration.cli import in_process, tiny_arguments

GIVEN = ("-m", "study.name=s", "hydra/launcher=basic", "seed=0,1", "decoder=luong,repeat_vector")
# OmegaConf appends None to a list, and then sets the item; what resets flags meanwhile asks items.
SET = ListConfig._set_item_impl


def signal_at(monkeypatch, number: int) -> list[int]:
    """Send SIGINT when a source of a config is noted for the n-th time; return how often it was."""
    calls: list[int] = []

    def set_item(self, key, value):
        if self._key() == "config_sources":
            calls.append(1)
            if len(calls) == number:
                signal.raise_signal(signal.SIGINT)
        SET(self, key, value)

    monkeypatch.setattr(ListConfig, "_set_item_impl", set_item)
    return calls


@pytest.mark.fault(33)
@pytest.mark.parametrize("share", [0.1, 0.2, 0.3, 0.5, 0.7, 0.8])
def test_an_interrupt_is_no_error_of_a_librarys(tmp_path, monkeypatch, capfd, share):
    given = [*GIVEN, *tiny_arguments(tmp_path)]
    with monkeypatch.context() as patch:
        calls = signal_at(patch, 0)
        assert in_process(patch, *given, f"run.output_dir={tmp_path / 'whole'}") == 0
    with monkeypatch.context() as patch:
        done = signal_at(patch, max(1, int(share * len(calls))))
        code = in_process(patch, *given)
    said = capfd.readouterr().err
    assert done
    assert code == 130, said
    assert "interrupted" in said.splitlines()[-1]
    assert "NoneType" not in said
    assert in_process(monkeypatch, *given) == 0


def test_only_an_interrupt_in_the_way_of_an_error_is_hidden_in_it():
    def failed(first: BaseException) -> Exception:
        try:
            try:
                raise first
            finally:
                raise AttributeError("half done")
        except AttributeError as error:
            return error

    interrupt = KeyboardInterrupt()
    assert hidden_interrupt(failed(interrupt)) is interrupt
    for other in (ValueError(), SystemExit(), GeneratorExit()):
        assert hidden_interrupt(failed(other)) is None


def clear_an_interrupt_and_raise(error: Exception) -> None:
    with suppress(KeyboardInterrupt):  # as C code clears it
        signal.raise_signal(signal.SIGINT)
    raise error


@pytest.mark.parametrize("error", [AttributeError("half imported"), KeyError("x"), TypeError("x")])
def test_what_follows_a_cleared_interrupt_is_the_interrupt(error):
    with pytest.raises(KeyboardInterrupt), telling_interrupts():
        clear_an_interrupt_and_raise(error)


@pytest.mark.parametrize("error", [OSError(28, "No space left"), ConfigError("x is 1; give 2")])
def test_what_a_person_has_to_know_after_an_interrupt_is_said(error):
    with pytest.raises(type(error)), telling_interrupts():
        clear_an_interrupt_and_raise(error)
