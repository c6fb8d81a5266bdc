"""What a check leads to: a failure with what was seen, why it does not apply, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from decoderlab.common.torch_settings import check_torch, torch_as_before
from decoderlab.testing.differences import Seen, Skipped


@dataclass(frozen=True)
class Failure:
    """A check that failed: its name, and what was seen."""

    check: str
    seen: str


class ContractViolation(AssertionError):
    """Some checks failed.

    Args:
        name: of what was checked.
        failures: at least one.
    """

    def __init__(self, name: str, failures: list[Failure]) -> None:
        lines = [f"{name} breaks the contract in {len(failures)} of its checks:"]
        super().__init__(
            "\n".join(lines + [f"* {failure.check}: {failure.seen}" for failure in failures])
        )
        self.failures = failures


def run_checks(checks: Sequence[Callable], subject: Any) -> list[Failure | Skipped | None]:
    """Return for each check why it failed, why it does not apply, or None where all is well."""
    outcomes: list[Failure | Skipped | None] = []
    for check in checks:
        outcome: Failure | Skipped | None = None
        try:
            with torch.random.fork_rng(devices=[]), torch_as_before():
                check(subject)
                check_torch("after it was built and called")
        except Skipped as skipped:
            outcome = skipped
        except Seen as seen:
            outcome = Failure(check.__name__, str(seen))
        except Exception as error:  # whatever somebody's module raises is what was seen
            outcome = Failure(check.__name__, f"{type(error).__name__}: {error}")
        outcomes.append(outcome)
    return outcomes


def failures_of(checks: Sequence[Callable], subject: Any) -> list[Failure]:
    """Return the checks that a subject fails."""
    return [outcome for outcome in run_checks(checks, subject) if isinstance(outcome, Failure)]


def raise_for(make: Callable[..., Any], failures: list[Failure]) -> None:
    """Raise ContractViolation if there are failures.

    Args:
        make: what was checked; its name is in the message.
        failures: any number.
    """
    if failures:
        raise ContractViolation(getattr(make, "__name__", str(make)), failures)
