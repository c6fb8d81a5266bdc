"""A finished run as files that need no decoderlab: torch.export and ONNX programs, and weights."""

from __future__ import annotations

import inspect
import json
import logging
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram
from torch.utils._pytree import tree_leaves

from decoderlab.common.errors import ConfigError
from decoderlab.layers.recurrent_stack import RecurrentLayers
from decoderlab.training.loading import LoadedRun
from decoderlab.usage.program_checks import Run, check_predictions
from decoderlab.usage.programs import Encode, Program, examples, programs_of
from decoderlab.usage.runner_of_export import description, runner
from decoderlab.usage.scanned_layers import scanned

# Rows, and positions of each, of what the programs are checked on: torch's take several rows, and a
# runner gives those of ONNX one.
BATCHES = ((5, 7), (2, 3))
ONNX = ((3, 5), (1, 4))
PACKAGES = ("onnx", "onnxscript", "onnxruntime", "safetensors")
CANNOT = (
    "{what} cannot be exported: {why}. Exported are recurrent encoders and decoders, but for the "
    "cell mlstm, and cnn, image_cnn and transformer encoders, whose state has the same shapes at "
    "every step; the transformer, ctc and feedforward decoders are not. The weights alone: "
    "--weights-only"
)


def export_run(run: LoadedRun, folder: Path, *, weights_only: bool = False) -> list[Path]:
    """Write a run as programs of tensors, its vocabulary, its weights and a runner.

    Args:
        run: from `load_run`.
        folder: to write into; it must not be there yet, or be empty.
        weights_only: leave the programs and the runner out.

    Returns:
        What was written.

    Raises:
        ConfigError: if the folder is in use, a package is missing, the model cannot be exported, or
            unknown words have slots.
    """
    _check_packages()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is there already; give another folder: --to FOLDER")
    module, data = run.module.cpu().eval(), run.task.data
    slots = getattr(data.source_vocabulary, "unknown_slots", 0)
    if slots and not weights_only:
        raise ConfigError(
            f"this run has {slots} unknown_slots for the unknown words of a line, which the runner "
            "of an export does not know; predict with decoderlab-predict, or export the weights "
            "alone: --weights-only"
        )
    made: dict[str, ExportedProgram] = {}
    programs: dict[str, Program] = {}
    if not weights_only:
        with without_export_notes(), torch.no_grad(), _refused(_what(module)):
            scan = _scanned(module)
            for source in examples(data.source_space):
                _check_same(*(_read(model, source) for model in (scan, module)))
            programs = programs_of(scan, data.source_space)
            made = {name: _traced(program) for name, program in programs.items()}
            modules = {name: program.module() for name, program in made.items()}
            check_predictions(
                module, data.source_space, lambda name, given: modules[name](*given), BATCHES
            )
    with _whole(folder) as incomplete:
        _write(run, incomplete, made, programs)
    return sorted(folder.iterdir())


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """Yield a folder beside the one that is wanted, which takes its place when all is written."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    incomplete = Path(tempfile.mkdtemp(prefix=".export-", dir=folder.resolve().parent))
    try:
        yield incomplete
        incomplete.chmod(0o777 & ~_umask())
        incomplete.rename(folder.resolve())
    except BaseException:
        shutil.rmtree(incomplete, ignore_errors=True)
        raise


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _write(
    run: LoadedRun,
    folder: Path,
    made: Mapping[str, ExportedProgram],
    programs: Mapping[str, Program],
) -> None:
    """Write the files of an export."""
    _write_weights(run, folder)
    about = description(run)
    _write_json(folder / "vocabulary.json", about)
    with without_export_notes(), torch.no_grad():
        for name, program in made.items():
            torch.export.save(program, folder / f"{name}.pt2")
            with _refused(f"program {name}"):
                torch.onnx.export(
                    program,
                    f=folder / f"{name}.onnx",
                    input_names=programs[name].inputs,
                    output_names=programs[name].outputs,
                    dynamo=True,
                    external_data=False,
                    verbose=False,
                )
    if made:
        with _refused(_what(run.module)):
            check_predictions(run.module, run.task.data.source_space, _session_of(folder), ONNX)
        kinds = about["source"]["kind"], about["target"]["kind"]
        (folder / "run.py").write_text(runner(*kinds), encoding="utf-8")


def _session_of(folder: Path) -> Run:
    """Return what calls the ONNX programs of a folder by their names, as the runner does."""
    import onnxruntime

    sessions = {
        path.stem: onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        for path in folder.glob("*.onnx")
    }

    def run(name: str, given: Sequence[Tensor]) -> list[Tensor]:
        names = [item.name for item in sessions[name].get_inputs()]
        arrays = [tensor.numpy() for tensor in given]
        return [
            torch.from_numpy(array)
            for array in sessions[name].run(None, dict(zip(names, arrays, strict=True)))
        ]

    return run


def _what(module: torch.nn.Module) -> str:
    kinds = (type(module.get_submodule(name)).__name__ for name in ("encoder", "decoder"))
    return " with ".join(kinds)


def _scanned(module: Any) -> Any:
    """Return the model with an encoder whose recurrent layers are scans, if it has any."""
    encoder = module.get_submodule("encoder")
    if not any(isinstance(part, RecurrentLayers) for part in encoder.modules()):
        return module
    copied = type(module)(
        encoder=scanned(encoder),
        decoder=module.get_submodule("decoder"),
        target_space=module.target_space,
        max_target_length=module.max_target_length,
    )
    return copied.eval()


def _read(model: Any, source: Tensor) -> list[Tensor]:
    """Return all tensors of what an encoder reads."""
    leaves = tree_leaves(Encode(model).read(source))
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def _traced(program: Program) -> ExportedProgram:
    """Return a program, checked on an example of another size than it was traced with."""
    free = {name: Dim(name) for name in ("batch", "source")}
    axes = [{axis: free[name] for axis, name in of.items()} for of in program.free_axes()]
    takes_several = any(
        parameter.kind is parameter.VAR_POSITIONAL
        for parameter in inspect.signature(program.module.forward).parameters.values()
    )
    named = len(inspect.signature(program.module.forward).parameters) - takes_several
    shapes: tuple[Any, ...] = tuple(axes[:named])
    if takes_several:
        shapes = (*shapes, tuple(axes[named:]))
    traced = torch.export.export(
        program.module, tuple(program.arguments[0]), dynamic_shapes=shapes, strict=False
    )
    # ONNX has no guards, and those of torch 2.13 fail where constants were lifted.
    cast("Any", traced)._guards_code = []
    _check_same(traced.module()(*program.arguments[1]), program.module(*program.arguments[1]))
    return traced


def _check_same(made: Sequence[Tensor], wanted: Sequence[Tensor]) -> None:
    for output, expected in zip(made, wanted, strict=True):
        torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)


@contextmanager
def _refused(what: str) -> Iterator[None]:
    """Turn whatever tracing somebody's module raises into one clear message."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(CANNOT.format(what=what, why=str(error).rstrip("."))) from error
    except Exception as error:
        plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error).split("## Exception summary")[-1])
        why = f"{type(error).__name__}: {' '.join(plain.split())[:200]}"
        raise ConfigError(CANNOT.format(what=what, why=why)) from error


def _write_weights(run: LoadedRun, folder: Path) -> None:
    """Write all weights, and those of the encoder alone, as safetensors."""
    from safetensors.torch import save_file

    about = {"run_id": run.result.run_id, "format": "pt"}
    state = {
        name: value.contiguous().clone()
        for name, value in run.module.state_dict().items()
        if name.startswith(("encoder.", "decoder."))
    }
    save_file(state, folder / "model.safetensors", about)
    own = {name: value for name, value in state.items() if name.startswith("encoder.")}
    save_file(own, folder / "encoder.safetensors", about)


def _write_json(path: Path, record: Mapping[str, Any]) -> None:
    text = json.dumps(record, ensure_ascii=False, indent=1, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _check_packages() -> None:
    missing = []
    for name in PACKAGES:
        try:
            __import__(name)
        except ImportError:
            missing.append(name)
    if missing:
        raise ConfigError(
            f"an export takes {', '.join(missing)}; run: pip install 'decoderlab[export]'"
        )


@contextmanager
def without_export_notes() -> Iterator[None]:
    """Silence what exporters say about packages that are not wanted."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "torch._dynamo")]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
