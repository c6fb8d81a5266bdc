"""Analysis of a full factorial with seeds as blocks: main effects, interactions, simple effects."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg, stats

from decoderlab.studies.attainable import ALPHA, PILOT_SEEDS
from decoderlab.studies.statistics import UNBOUNDED, Bounds, Paired, holm, paired, sign_flip


@dataclass(frozen=True)
class Effect:
    """One line of a repeated-measures analysis of variance.

    Args:
        factors: a single factor for a main effect, several for their interaction.
        freedom, freedom_error: degrees of freedom, before the correction.
        f: the F statistic.
        epsilon: Greenhouse and Geisser's (1959), which both degrees of freedom are multiplied by.
        p: of F, with that correction.
        p_holm: adjusted over the effects of the analysis.
        p_sign_flip: of the exact test that flips the signs of each seed's contrasts, which asks
            for symmetry instead of normality and sphericity.
        partial_eta_squared: share of what varies within seeds that the effect explains.
    """

    factors: tuple[str, ...]
    freedom: int
    freedom_error: int
    f: float
    epsilon: float
    p: float
    p_holm: float
    p_sign_flip: float
    partial_eta_squared: float

    @property
    def real(self) -> bool:
        """Whether both tests say that there is an effect."""
        return self.p_holm < ALPHA and self.p_sign_flip < ALPHA


@dataclass(frozen=True)
class LevelContrast:
    """One level of a factor against its first.

    Args:
        factor: which changes.
        level, against: of it.
        held: the levels of the other factors; empty for the mean over all of them.
        difference: of the scores, seed by seed.
        p_holm: adjusted over all main effects, or over the simple effects of the factor.
    """

    factor: str
    level: str
    against: str
    held: dict[str, str]
    difference: Paired
    p_holm: float


@dataclass(frozen=True)
class Factorial:
    """The analysis of one task.

    Args:
        levels: of each factor, in the order of the study.
        seeds: that all cells have; the others are left out.
        left_out: seeds that some cell lacks.
        means: of each combination of levels.
        effects: main effects first.
        main: the main effects in size: the other factors averaged over.
        simple: the simple effects, those of all factors: the others held.
    """

    levels: dict[str, list[str]]
    seeds: tuple[int, ...]
    left_out: tuple[int, ...]
    means: dict[tuple[str, ...], float]
    effects: tuple[Effect, ...]
    main: tuple[LevelContrast, ...]
    simple: tuple[LevelContrast, ...]

    @property
    def interactions(self) -> list[Effect]:
        """The interactions that are real; where there are any, main effects claim too much."""
        return [effect for effect in self.effects if len(effect.factors) > 1 and effect.real]


def analyse(
    scores: Mapping[tuple[str, ...], Mapping[int, float]],
    levels: Mapping[str, Sequence[str]],
    bounds: Bounds = UNBOUNDED,
) -> Factorial | None:
    """Analyse a full factorial; None with fewer than six seeds that all cells have.

    Args:
        scores: by seed, of every combination of levels.
        levels: of each factor, at least two each.
        bounds: what a difference of two scores can be.

    Raises:
        ValueError: if a combination is missing.
    """
    names = list(levels)
    combinations = list(itertools.product(*levels.values()))
    if missing := [cell for cell in combinations if cell not in scores]:
        raise ValueError(f"the grid of {', '.join(names)} lacks {' '.join(missing[0])}")
    everywhere = set.intersection(*(set(scores[cell]) for cell in combinations))
    anywhere = set.union(*(set(scores[cell]) for cell in combinations))
    seeds = tuple(sorted(everywhere))
    if len(seeds) < PILOT_SEEDS:
        return None
    table = np.array([[scores[cell][seed] for cell in combinations] for seed in seeds])
    effects = variance_table(table, {name: len(some) for name, some in levels.items()})
    return Factorial(
        levels={name: list(some) for name, some in levels.items()},
        seeds=seeds,
        left_out=tuple(sorted(anywhere - everywhere)),
        means=dict(zip(combinations, table.mean(axis=0).tolist(), strict=True)),
        effects=effects,
        main=_main_effects(table, levels, bounds),
        simple=_simple_effects(table, levels, bounds),
    )


def variance_table(table: np.ndarray, sizes: Mapping[str, int]) -> tuple[Effect, ...]:
    """Return the repeated-measures analysis of variance, each effect against its own error.

    With Z the n seeds' scores in an orthonormal basis of an effect's contrasts, of dimension q,
    F = (n |mean Z|^2 / q) / (sum |Z - mean Z|^2 / (q (n - 1))), which equals the textbook's sums
    of squares, and Greenhouse and Geisser's epsilon is tr(S)^2 / (q tr(S^2)) with S = cov(Z).

    Args:
        table: (n, cells), the last factor's levels next to each other.
        sizes: number of levels of each factor.
    """
    n, names = len(table), list(sizes)
    effects = []
    for order in range(1, len(names) + 1):
        for chosen in itertools.combinations(names, order):
            scores = table @ _contrasts(sizes, chosen)
            q = scores.shape[1]
            explained = n * float(np.square(scores.mean(axis=0)).sum())
            error = float(np.square(scores - scores.mean(axis=0)).sum())
            negligible = 1e-20 * max(float(np.square(table).sum()), 1e-300)
            if explained <= negligible and error <= negligible:
                explained = error = 0.0
            f = explained / error * (n - 1) if error else math.inf if explained else 0.0
            epsilon = _epsilon(scores) if error else 1.0
            freedoms = q * epsilon, q * (n - 1) * epsilon
            effects.append(
                Effect(
                    factors=chosen,
                    freedom=q,
                    freedom_error=q * (n - 1),
                    f=f,
                    epsilon=epsilon,
                    p=float(stats.f.sf(f, *freedoms)),
                    p_holm=math.nan,
                    p_sign_flip=sign_flip(scores) if explained or error else 1.0,
                    partial_eta_squared=explained / (explained + error) if explained else 0.0,
                )
            )
    adjusted = holm([effect.p for effect in effects])
    return tuple(replace(effect, p_holm=p) for effect, p in zip(effects, adjusted, strict=True))


def _contrasts(sizes: Mapping[str, int], chosen: Sequence[str]) -> np.ndarray:
    """Return an orthonormal basis (cells, q) of an effect's contrasts."""
    basis = np.ones((1, 1))
    for name, size in sizes.items():
        if name in chosen:
            rows = linalg.helmert(size)
        else:
            rows = np.full((1, size), 1 / math.sqrt(size))
        basis = np.kron(basis, rows)
    return basis.T


def _epsilon(scores: np.ndarray) -> float:
    covariance = np.atleast_2d(np.cov(scores, rowvar=False))
    squared = float(np.square(covariance).sum())
    if not squared:
        return 1.0
    epsilon = float(np.trace(covariance)) ** 2 / (len(covariance) * squared)
    return min(max(epsilon, 1 / len(covariance)), 1.0)


def _main_effects(
    table: np.ndarray, levels: Mapping[str, Sequence[str]], bounds: Bounds
) -> tuple[LevelContrast, ...]:
    steps = []
    for name, first, level, change in _changes(table, levels):
        difference = paired(change.reshape(len(table), -1).mean(axis=1), bounds)
        steps.append(LevelContrast(name, level, first, {}, difference, math.nan))
    return _adjusted(steps)


def _simple_effects(
    table: np.ndarray, levels: Mapping[str, Sequence[str]], bounds: Bounds
) -> tuple[LevelContrast, ...]:
    steps: dict[str, list[LevelContrast]] = {}
    for name, first, level, change in _changes(table, levels):
        others = {other: some for other, some in levels.items() if other != name}
        for index in np.ndindex(change.shape[1:]):
            held = {
                other: some[int(at)]
                for (other, some), at in zip(others.items(), index, strict=True)
            }
            difference = paired(change[:, *index], bounds)
            step = LevelContrast(name, level, first, held, difference, math.nan)
            steps.setdefault(name, []).append(step)
    return tuple(step for some in steps.values() for step in _adjusted(some))


def _changes(
    table: np.ndarray, levels: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, str, str, np.ndarray]]:
    """Yield a factor, its first level, another, and the change (n, *levels of the others)."""
    cube = table.reshape(len(table), *map(len, levels.values()))
    for axis, (name, (first, *rest)) in enumerate(levels.items(), start=1):
        by_level = np.moveaxis(cube, axis, 0)
        for index, level in enumerate(rest, start=1):
            yield name, first, level, by_level[index] - by_level[0]


def _adjusted(steps: Iterable[LevelContrast]) -> tuple[LevelContrast, ...]:
    steps = list(steps)
    adjusted = holm([step.difference.p for step in steps])
    return tuple(replace(step, p_holm=p) for step, p in zip(steps, adjusted, strict=True))
