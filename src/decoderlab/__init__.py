"""decoderlab: how should what the encoder read reach the decoder?"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["load_run", "results"]


def __getattr__(name: str) -> Any:
    # Importing torch and Lightning takes seconds, which `import decoderlab` alone should not.
    if name == "load_run":
        from decoderlab.training.loading import load_run

        return load_run
    if name == "results":
        from decoderlab.studies.analysis.results import results

        return results
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
