"""decoderlab: how should what the encoder read reach the decoder?"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from decoderlab.common import edited_sources, lean_imports

if TYPE_CHECKING:
    from decoderlab.common.errors import ConfigError
    from decoderlab.config.composition import compose_config
    from decoderlab.config.run_config import RunConfig
    from decoderlab.records.run_result import RunResult
    from decoderlab.studies.analysis.results import results
    from decoderlab.training.from_python import RunFailed, train
    from decoderlab.training.interruption import Interrupted
    from decoderlab.training.loading import LoadedRun, load_run, search_with
    from decoderlab.training.model_evaluation import evaluate
    from decoderlab.usage.outputs import Output, predict, predict_best, predict_outputs

__version__ = "0.1.0"
__all__ = [
    "ConfigError",
    "Interrupted",
    "LoadedRun",
    "Output",
    "RunConfig",
    "RunFailed",
    "RunResult",
    "compose_config",
    "evaluate",
    "load_run",
    "predict",
    "predict_best",
    "predict_outputs",
    "results",
    "search_with",
    "train",
]
# Importing torch and Lightning takes seconds, which `import decoderlab` alone should not.
_MODULES = {
    "ConfigError": "common.errors",
    "Interrupted": "training.interruption",
    "LoadedRun": "training.loading",
    "Output": "usage.outputs",
    "RunConfig": "config.run_config",
    "RunFailed": "training.from_python",
    "RunResult": "records.run_result",
    "compose_config": "config.composition",
    "evaluate": "training.model_evaluation",
    "load_run": "training.loading",
    "predict": "usage.outputs",
    "predict_best": "usage.outputs",
    "predict_outputs": "usage.outputs",
    "results": "studies.analysis.results",
    "search_with": "training.loading",
    "train": "training.from_python",
}
edited_sources.note_imports()
lean_imports.install()


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
