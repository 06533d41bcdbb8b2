"""How much each swept key says about the score: permutation importance, on runs that were held out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from davis_exp.results.board.entry import Value

FEWEST = 8  # runs
MOST = 400  # runs that are looked at, drawn at random from more
KEYS = 30  # at most, those with the most values last
TREES, FOLDS, SHUFFLES = 50, 5, 5


def importance(settings: Sequence[Mapping[str, Value]], scores: Sequence[float]) -> dict[str, Any]:
    """What shuffling each key's values costs a random forest that predicts the score from them.

    A forest is fitted on four fifths of the runs and judged on the others, in turns.

    Args:
        settings: of each run the keys that vary and their values.
        scores: of each run, from 0 to 1.

    Returns `keys`, each a name, the mean loss (how much more the prediction is off, in the score's own unit) and its
    deviation over folds, the largest first; `explained`, the share of the scores' variance that the forest predicts; and
    `runs`, how many were looked at. Only `why`, where there are too few runs or keys, or no scikit-learn.
    """
    try:
        from sklearn.ensemble import RandomForestRegressor
        from sklearn.inspection import permutation_importance
        from sklearn.model_selection import KFold
    except ImportError:
        return {"why": "it takes scikit-learn: pip install 'davis_exp[board]'"}

    chosen = np.random.default_rng(0).permutation(len(scores))[:MOST]
    y = np.asarray(scores, float)[chosen]
    rows = [settings[i] for i in chosen]
    columns = {
        key: _numbers([row.get(key) for row in rows]) for key in dict.fromkeys(k for r in rows for k in r)
    }
    columns = {key: column for key, column in columns.items() if len(set(column)) > 1}
    kept = sorted(columns, key=lambda key: len(set(columns[key])))[:KEYS]
    if len(y) < FEWEST or not kept or not np.ptp(y):
        return {"why": f"it takes {FEWEST} finished runs that differ in their settings and scores"}
    x = np.column_stack([columns[key] for key in kept])
    predicted, losses = np.empty_like(y), []
    for fitted, held in KFold(FOLDS, shuffle=True, random_state=0).split(x):
        forest = RandomForestRegressor(TREES, random_state=0, n_jobs=1).fit(x[fitted], y[fitted])
        predicted[held] = forest.predict(x[held])
        found = permutation_importance(
            forest,
            x[held],
            y[held],
            scoring="neg_mean_absolute_error",
            n_repeats=SHUFFLES,
            random_state=0,
            n_jobs=1,
        )
        losses.append(found.importances_mean)
    means, deviations = np.mean(losses, axis=0), np.std(losses, axis=0)
    keys = [(key, float(means[i]), float(deviations[i])) for i, key in enumerate(kept)]
    explained = 1 - float(np.sum((y - predicted) ** 2) / np.sum((y - y.mean()) ** 2))
    return {"keys": sorted(keys, key=lambda key: -key[1]), "explained": explained, "runs": len(y)}


def _numbers(values: Sequence[Value]) -> list[float]:
    """A key's values as numbers: as they are, or where some are none, by their place among all that there are."""
    if all(isinstance(value, int | float) for value in values):
        return [float(value) for value in values if value is not None]
    places = {value: float(i) for i, value in enumerate(sorted({str(value) for value in values}))}
    return [places[str(value)] for value in values]
