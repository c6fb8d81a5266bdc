"""Secrets: what the environment holds is in no file of a run or study."""

from __future__ import annotations

import os

import pytest
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import CSVLogger

from decoderlab.common.errors import ConfigError
from decoderlab.config.run_config import RunConfig
from decoderlab.config.secret_settings import from_environment
from tests.conftest import run
from tests.integration.cli import in_process, tiny_arguments

VALUE = "hunter2-hunter2"
GIVEN: list[object] = []


class Remote(CSVLogger):
    """A logger that wants a key."""

    def __init__(self, save_dir: str, api_key: str, headers: dict | None = None) -> None:
        super().__init__(save_dir, name="remote", version="")
        GIVEN.append((api_key, headers))


class Sending(Callback):
    """A callback that wants a key, and tells it when it fails."""

    def __init__(self, webhook: str, fails: bool = False) -> None:
        self.webhook, self.fails = webhook, fails

    def on_train_start(self, *_) -> None:
        GIVEN.append(self.webhook)
        if self.fails:
            raise ConnectionError(f"403 at {self.webhook}")


class Telling(CSVLogger):
    """A logger that tells its key when it cannot be made."""

    def __init__(self, save_dir: str, api_key: str) -> None:
        raise ConnectionError(f"403 at {api_key}")


TELLING = "+logger.mine._target_=tests.reliability.test_secrets.Telling"
LOGGER = "+logger.mine._target_=tests.reliability.test_secrets.Remote"
CALLBACK = "+callbacks.mine._target_=tests.reliability.test_secrets.Sending"


@pytest.fixture(autouse=True)
def secret(monkeypatch) -> None:
    GIVEN.clear()
    monkeypatch.setenv("MY_TOKEN", VALUE)
    monkeypatch.setenv("UNRELATED_SETTING", "not to be listed")


def holding(folder, text: str) -> list[str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 3
    return [path.name for path in files if text.encode() in path.read_bytes()]


@pytest.mark.slow
@pytest.mark.fault(63)
def test_a_secret_of_the_environment_is_used_and_written_nowhere(tiny, tmp_path):
    prepared = tiny(
        LOGGER,
        "+logger.mine.api_key=${oc.env:MY_TOKEN}",
        "+logger.mine.headers={auth: [Bearer, '${logger.mine.api_key}']}",
        CALLBACK,
        "+callbacks.mine.webhook='https://x.org/${oc.env:MY_TOKEN}?to=${oc.env:NOBODY,me}'",
    )
    assert run(prepared) == "FINISHED"
    assert GIVEN == [(VALUE, {"auth": ["Bearer", VALUE]}), f"https://x.org/{VALUE}?to=me"]
    assert holding(tmp_path, VALUE) == []
    assert holding(tmp_path, "not to be listed") == []
    assert "${oc.env:MY_TOKEN}" in prepared.folder.config.read_text()
    again = RunConfig.from_dict(prepared.config.to_dict())
    assert again.scientific() == prepared.config.scientific()


@pytest.mark.slow
@pytest.mark.fault(63)
def test_the_plan_of_a_sweep_has_names_alone(monkeypatch, tmp_path):
    given = (LOGGER, "+logger.mine.api_key=${oc.env:MY_TOKEN}", "seed=0,1", "study.name=s")
    launcher = "hydra/launcher=basic"
    assert in_process(monkeypatch, "-m", *tiny_arguments(tmp_path, *given), launcher) == 0
    assert GIVEN == [(VALUE, None)] * 2
    assert holding(tmp_path, VALUE) == []


@pytest.mark.fault(63)
@pytest.mark.parametrize("name", ["MY_TOKEN", "CRED", "PGPASSWORD"])
@pytest.mark.parametrize("teller", ["a callback", "a logger"])
def test_an_error_does_not_tell_a_secret(tiny, tmp_path, monkeypatch, name, teller):
    """What a logger, or a webhook, takes from the environment is one, whatever it is called."""
    monkeypatch.delenv("MY_TOKEN")
    monkeypatch.setenv(name, VALUE)
    given = f"'${{oc.env:{name}}}'"
    settings = (CALLBACK, "+callbacks.mine.fails=true", f"+callbacks.mine.webhook={given}")
    if teller == "a logger":
        settings = (TELLING, f"+logger.mine.api_key={given}")
    prepared = tiny(*settings)
    assert run(prepared) == "FAILED"
    assert prepared.folder.status()["reason"].endswith(f"Error: 403 at ${{{name}}}")
    assert f"403 at ${{{name}}}" in prepared.folder.traceback.read_text()
    assert holding(tmp_path, VALUE) == []


@pytest.mark.fault(63)
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((LOGGER, "+logger.mine.api_key=abcdef"), "api_key is a secret that would be written"),
        (
            ("logger=mlflow", "+logger.mlflow.tracking_uri=https://me:pass@x.org"),
            "tracking_uri is a secret",
        ),
        (("encoder.hidden_size=${oc.env:MY_TOKEN}",), r"encoder.hidden_size is \$\{oc.env:MY_TOK"),
        (("run.output_dir=/tmp/${oc.env:MY_TOKEN}",), "run.output_dir is"),
        (
            (LOGGER, "+logger.mine.api_key=${oc.env:NOT_THERE}"),
            "Environment variable 'NOT_THERE' not found",
        ),
        (
            (CALLBACK, "+callbacks.mine.to=${oc.env:HOME}"),
            r"to is \$\{oc.env:HOME\}: .* give the value, or, .* such as HOME_TOKEN",
        ),
        (("callbacks=early_stopping", "callbacks.early_stopping.monitor=${oc.env:HOME,x}"), "give"),
    ],
)
def test_a_secret_that_would_be_written_is_refused(tiny, given, message):
    with pytest.raises(ConfigError, match=message) as refused:
        tiny(*given)
    assert VALUE not in str(refused.value)
    assert "abcdef" not in str(refused.value)


@pytest.mark.fault(63)
def test_what_is_no_secret_is_read_at_once(tiny, monkeypatch):
    monkeypatch.setenv("MY_WIDTH", "8")
    prepared = tiny("encoder.hidden_size='${oc.decode:${oc.env:MY_WIDTH}}'")
    assert prepared.config.encoder["hidden_size"] == 8
    assert os.environ["MY_TOKEN"] == VALUE
    with pytest.raises(ConfigError, match="logger.x is .*, but the environment has no NOT_THERE"):
        from_environment("logger.x", "${oc.env:NOT_THERE}")
