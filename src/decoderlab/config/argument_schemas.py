"""JSON schemas of arguments: what a docstring says of each, and what its checks allow.

The checks are the calls of `decoderlab.common.require`, read from the source and not run: those
that are always made, and those of a value that is not None. What is handed on to another function
or class under its own name is checked there too.
"""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from decoderlab.common import require
from decoderlab.config.argument_texts import ELSEWHERE, arguments_in

# How many calls deep an argument is followed.
DEPTH = 3


@functools.cache
def argument_texts(target: Callable) -> dict[str, str]:
    """Return what the docstring of a class or function, or of a base class, says of each argument.

    Example:
        >>> argument_texts(require.at_least)
        {}
        >>> from decoderlab.config.study_settings import Budget
        >>> argument_texts(Budget)["tolerance"]
        'largest relative difference that is left in parameters or operations, 0 to 1.'
    """
    texts: dict[str, str] = {}
    for kind in _bases(target):
        for name, text in arguments_in(kind.__doc__).items():
            if (other := ELSEWHERE.fullmatch(text)) is not None:
                named = getattr(sys.modules.get(kind.__module__), other[1], None)
                text = argument_texts(named).get(name, "") if inspect.isclass(named) else ""
            if text:
                texts.setdefault(name, text)
    return texts


@functools.cache
def argument_limits(target: Callable) -> dict[str, dict[str, Any]]:
    """Return what is allowed of each argument of a class or function, in the words of JSON Schema.

    Example:
        >>> from decoderlab.config.run_sections import Training
        >>> limits = argument_limits(Training)
        >>> limits["batch_size"], limits["precision"]
        ({'minimum': 1}, {'enum': ['float32', 'bfloat16', 'float64']})
        >>> from decoderlab.decoders import RecurrentDecoder
        >>> argument_limits(RecurrentDecoder)["num_layers"]
        {'minimum': 1}
    """
    limits: dict[str, dict[str, Any]] = {}
    names = _parameters(target)
    for name, allowed in _limits(target, names, DEPTH):
        limits[name] = allowed | limits.get(name, {})
    return limits


def _limits(
    target: Callable, names: Sequence[str], depth: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what is allowed of some arguments, that nearest to the constructor first."""
    for function in _functions(target):
        owner = target if inspect.isclass(target) else None
        space = {**vars(builtins), **function.__globals__, "self": owner, "cls": owner}
        for call, values in _calls(_body(function), {}):
            known = {**space, **values}
            name = _rule_name(call, known)
            if name is not None:
                yield from ((key, rule) for key, rule in _rules(name, call, known) if key in names)
            elif depth and (called := _called(call.func, known)) is not None:
                nodes = list(ast.walk(call))
                given = {node.id for node in nodes if isinstance(node, ast.Name)}
                given |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
                handed = [item for item in names if item in given]
                yield from _limits(called, handed, depth - 1)


def _calls(
    body: Sequence[ast.stmt], values: Mapping[str, Any]
) -> Iterator[tuple[ast.Call, Mapping[str, Any]]]:
    """Yield the calls that are always made, or for every value but None.

    With each come the loop variables that are known.
    """
    for statement in body:
        match statement:
            case ast.If(
                test=ast.Compare(ops=[ast.IsNot()], comparators=[ast.Constant(value=None)])
            ):
                yield from _calls(statement.body, values)
            case ast.For():
                for bound in _iterations(statement, values):
                    yield from _calls(statement.body, {**values, **bound})
            case ast.Expr() | ast.Assign() | ast.AnnAssign() | ast.Return():
                yield from (
                    (node, values) for node in ast.walk(statement) if isinstance(node, ast.Call)
                )


def _iterations(loop: ast.For, values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the constants that a loop over written-out values gives its variables."""
    items: list[ast.expr] = []
    match loop.iter:
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            items = elements
        case ast.Call(func=ast.Attribute(value=ast.Dict(keys=keys, values=held), attr="items")):
            pairs = zip(keys, held, strict=True)
            items = [ast.Tuple([key, value], ast.Load()) for key, value in pairs if key is not None]
    for item in items:
        match loop.target, item:
            case ast.Name(id=name), ast.Constant(value=value):
                yield {name: value}
            case ast.Tuple(elts=targets), ast.Tuple(elts=parts):
                yield {
                    target.id: part.value
                    for target, part in zip(targets, parts, strict=False)
                    if isinstance(target, ast.Name) and isinstance(part, ast.Constant)
                }


def _rule_name(call: ast.Call, known: Mapping[str, Any]) -> str | None:
    """Return the name of the check of `require` that is called, or None."""
    function = _called(call.func, known)
    name = getattr(function, "__name__", "")
    return name if function is not None and getattr(require, name, None) is function else None


def _rules(
    rule: str, call: ast.Call, known: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the arguments that a check is about, each with what it allows."""
    if rule == "shares":
        for keyword in call.keywords:
            yield str(keyword.arg), {"exclusiveMinimum": 0, "exclusiveMaximum": 1}
        return
    about, *others = [_value(node, known) for node in call.args]
    bounds = others[1:]
    if not isinstance(about, str):
        return
    name = about.rpartition(".")[2].rpartition(" ")[2]
    limits: dict[str, Any] = {}
    match rule, bounds:
        case "at_least", [minimum]:
            limits = {"minimum": minimum}
        case "between", [minimum, maximum]:
            limits = {"minimum": minimum, "maximum": maximum}
        case "positive", _:
            limits = {"exclusiveMinimum": 0}
        case "ratio", _:
            limits = {"minimum": 0, "exclusiveMaximum": 1}
        case "choice", [allowed] if allowed is not None and " " not in about:
            limits = {"enum": list(allowed)}
        case "subset", [allowed] if allowed is not None:
            limits = {"items": {"enum": list(allowed)}, "uniqueItems": True}
    if not about.startswith("the length of"):
        yield name, {key: value for key, value in limits.items() if value is not None}


def _value(node: ast.expr, known: Mapping[str, Any]) -> Any:
    """Return what an expression of constants and names of its module is; None for any other."""
    try:
        code = compile(ast.Expression(node), "<check>", "eval")
        return eval(code, {"__builtins__": {}}, dict(known))  # of source that is imported already
    except Exception:  # it depends on what the constructor is given
        return None


def _called(node: ast.expr, known: Mapping[str, Any]) -> Callable | None:
    """Return the function or class of ours that is called; None for any other."""
    match node:
        case ast.Attribute(
            value=ast.Call(func=ast.Name(id="super")), attr="__init__"
        ):  # `_functions` has those of the base classes
            return None
        case ast.Name() | ast.Attribute():
            value = _value(node, known)
            ours = getattr(value, "__module__", None) or ""
            plain = inspect.isclass(value) or inspect.isfunction(value)
            return value if plain and not ours.startswith(("torch", "builtins")) else None
    return None


def _functions(target: Callable) -> list[Any]:
    """Return the functions in which the arguments of a class or function are checked."""
    if not inspect.isclass(target):
        return [target] if inspect.isfunction(target) else []
    foreign = ("torch.", "builtins")
    kinds = [kind for kind in target.__mro__ if not kind.__module__.startswith(foreign)]
    names = ("__post_init__", "__init__", "search")
    functions = [vars(kind).get(name) for kind in kinds for name in names]
    return [function for function in functions if inspect.isfunction(function)]


def _body(function: Callable) -> Sequence[ast.stmt]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, SyntaxError):  # made by dataclasses, or without source
        return []
    (definition,) = tree.body
    return definition.body if isinstance(definition, ast.FunctionDef) else []


def _bases(target: Callable) -> list[Any]:
    kinds = target.__mro__ if inspect.isclass(target) else [target]
    return [kind for kind in kinds if getattr(kind, "__module__", "") not in ("builtins", "typing")]


def _parameters(target: Callable) -> list[str]:
    try:
        return list(inspect.signature(target).parameters)
    except (ValueError, TypeError):
        return []
