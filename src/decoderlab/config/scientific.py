"""The part of a config that a run's result depends on, and that names the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from decoderlab.config.lightning_settings import changing_arguments, changing_callbacks
from decoderlab.config.run_sections import OWN_SEEDS

# What a run's result depends on, beside callbacks and what `trainer` changes; everything else in
# the config is how, where and why.
SCIENTIFIC = ("task", "encoder", "decoder", "training", "evaluation", "seed")
# Settings that came later, with what they are where they change nothing: that names no run.
UNSAID: dict[str, dict[str, Any]] = {
    "task": {
        "skip_bad_lines": False,
        "targets": "text",
        "target_size": None,
        "target_columns": None,
        "split": "at_random",
        "test_num_digits": None,
        "unknown_share": 0.0,
        "unknown_slots": 0,
        "of.unknown_share": 0.0,
        "of.unknown_slots": 0,
        "of.test_num_digits": None,
    },
    "encoder": {"zoneout": 0.0, "variational_dropout": 0.0},
    "decoder": {
        "zoneout": 0.0,
        "variational_dropout": 0.0,
        "attention.heads": 1,
        "attention.hops": 1,
        "attention.coverage_loss": 0.0,
    },
    "training": {
        "from_run": None,
        "group_by_target_length": False,
        "weights_seed": None,
        "order_seed": None,
        "objective.without_eos": False,
    },
    "evaluation": {
        "max_length": None,
        "min_p": None,
        "mbr_samples": None,
        "exact_steps": None,
        "coverage_penalty": 0.0,
        "beam_groups": None,
        "diversity_penalty": None,
        "oracle_length": False,
        "validate_greedily": False,
    },
}
# Settings of the search: where validations do without them, training does not depend on them.
OF_SEARCH = (
    "beam_width",
    "length_penalty",
    "coverage_penalty",
    "beam_groups",
    "diversity_penalty",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "mbr_samples",
    "exact_steps",
)


def scientific_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `RunConfig.scientific` returns, from what `RunConfig.to_dict` returned.

    Args:
        record: its groups are mappings; their settings are not looked at.
    """
    further = {
        "callbacks": changing_callbacks(record["callbacks"]),
        "trainer": changing_arguments(record["trainer"]),
    }
    groups = {group: record[group] for group in SCIENTIFIC}
    return _without_nothing(groups) | {
        group: settings for group, settings in further.items() if settings
    }


def training_of(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what training depends on; None for a run whose validations generate as its test does.

    Args:
        record: from `RunConfig.scientific`, or the identity of a run.

    Example:
        >>> training_of({"seed": 1, "evaluation": {"beam_width": 5, "validate_greedily": True}})
        {'seed': 1, 'evaluation': {'validate_greedily': True}}
        >>> training_of({"seed": 1, "evaluation": {"beam_width": 5}})
    """
    evaluation = record["evaluation"]
    if not evaluation.get("validate_greedily", False):
        return None
    left = {name: value for name, value in evaluation.items() if name not in OF_SEARCH}
    return {**record, "evaluation": left}


def _without_nothing(groups: dict[str, Any]) -> dict[str, Any]:
    """Return groups of settings without those of `UNSAID`, and own seeds, that change nothing."""
    left = {
        group: _without(groups[group], unsaid)
        for group, unsaid in UNSAID.items()
        if isinstance(groups[group], Mapping)
    }
    if isinstance(training := left.get("training"), Mapping):
        # Of the run's own seed each kind of draw is made anyway.
        left["training"] = {
            name: value
            for name, value in training.items()
            if name not in OWN_SEEDS or type(value) is not int or value != groups["seed"]
        }
    return groups | left


def _without(settings: Mapping[str, Any], unsaid: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without those that are what they are in `unsaid`, also of parts of ours.

    A class of somebody else's may have a setting of that name, which its runs are known by.
    """
    inner = {
        part: _without(
            value,
            {
                name.partition(".")[2]: unsaid[name]
                for name in unsaid
                if name.partition(".")[0] == part
            },
        )
        for part, value in settings.items()
        if isinstance(value, Mapping) and str(value.get("_target_", "")).startswith("decoderlab.")
    }
    return {
        key: inner.get(key, value)
        for key, value in settings.items()
        if key not in unsaid or value != unsaid[key]
    }
