"""Linear probes: what can be read off states by a plane, on clusters that the probe has not seen, beside controls.

A probe is logistic regression with one fixed strength of regularisation, on features scaled by the training rows. Of
a classification each example has a label; of pairs, the probe is one of Bradley and Terry: it has no intercept, sees
the difference of a pair's states, and is right where it prefers the first. Plain numbers in and out; knows nothing of
models.

A control has labels that say nothing: those of whole clusters dealt out among clusters where clusters have one each,
else those of rows among rows, and a coin for the order of each pair. Selectivity is accuracy less the control's.

Sources: Hewitt & Liang (2019), arXiv:1909.03368v1 (control tasks and selectivity; they deal labels out by word type
and test on words seen in training, so that a control measures memory; ours are tested on unseen clusters and measure
chance and overfitting); Bradley & Terry (1952), Biometrika 39, 324-345; Belinkov (2022), arXiv:2102.12452v4 (what
probes do not show).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stratalign.records import keyed_seed
from stratalign.stats import resampled_sums

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Right = NDArray[np.bool_]


@dataclass(frozen=True)
class Examples:
    """What a probe is given.

    `features` [n, ...states, width]; `labels` [n], class numbers, or None for pairs, whose features are differences;
    `clusters` [n]; `lengths` [n, 1], the feature of the baseline (for pairs a difference as well).
    """

    features: NDArray[np.floating]
    labels: Codes | None
    clusters: tuple[str, ...]
    lengths: Floats

    @property
    def classes(self) -> int:
        return 2 if self.labels is None else int(self.labels.max()) + 1


@dataclass(frozen=True)
class Curves:
    """Accuracy of probes and controls over states, and resamples of clusters of both: [states], [resamples, states].

    Accuracy is balanced: every class counts alike, so that chance is 1 / classes. Probes are not fitted anew in
    resamples.
    """

    accuracy: Floats
    control: Floats
    accuracies: Floats
    controls: Floats
    baseline: float
    baselines: Floats

    @property
    def selectivity(self) -> Floats:
        return self.accuracy - self.control

    @property
    def selectivities(self) -> Floats:
        return self.accuracies - self.controls


def probe(
    examples: Examples, *, folds: int, controls: int, strength: float, resamples: int, seed: int
) -> Curves:
    """Probes at every state, by cross-validation over clusters.

    Args:
        folds: parts of the clusters; each is predicted by a probe trained on the others.
        controls: how many times labels are dealt out anew.
        strength: sklearn's C, the inverse of regularisation.
    """
    parts = cluster_folds(examples.clusters, folds, seed)
    truth = np.ones(len(parts), np.int64) if examples.labels is None else examples.labels
    deals = [_dealt(examples, truth, seed, number) for number in range(controls)]
    paired = examples.labels is None
    right: list[Floats] = []
    states = np.moveaxis(examples.features, -2, 0)
    for features in [*states, examples.lengths]:
        answers = held_out_right(features, [truth, *deals], parts, strength, paired=paired)
        right.append(np.stack(answers, axis=1).astype(np.float64))
    stacked = np.stack(right, axis=1)  # [n, states + 1, 1 + controls]
    weights = np.stack([_weights(labels, paired) for labels in (truth, *deals)], axis=1)
    weighted = stacked * weights[:, None, :]
    columns = np.concatenate(
        [
            weighted[:, :, 0],
            weighted[:, :-1, 1:].mean(axis=2),
            weights[:, :1],
            weights[:, 1:].mean(axis=1)[:, None],
        ],
        axis=1,
    )
    names = sorted(set(examples.clusters))
    place = {name: at for at, name in enumerate(names)}
    sums = np.zeros((len(names), columns.shape[1]))
    np.add.at(sums, [place[name] for name in examples.clusters], columns)
    whole = _shares(sums.sum(axis=0, keepdims=True), len(states))
    drawn = _shares(resampled_sums(sums, resamples, keyed_seed("probes", seed)), len(states))
    return Curves(
        accuracy=whole[0][0],
        control=whole[1][0],
        accuracies=drawn[0],
        controls=drawn[1],
        baseline=float(whole[2][0]),
        baselines=drawn[2],
    )


def held_out_right(
    features: NDArray[np.floating],
    targets: Sequence[Codes],
    parts: Codes,
    strength: float,
    *,
    paired: bool,
) -> list[Right]:
    """For each way of labelling, which rows [n] are answered right by a probe that has not seen their part.

    Args:
        features: [n, width].
        targets: classes [n], or of pairs 1 where the first is to be preferred and -1 where the second is.
        parts: [n] the part of each row.
    """
    found = [np.zeros(len(parts), np.bool_) for _ in targets]
    for part in np.unique(parts):
        out = parts == part
        seen, unseen = _prepared(features[~out], features[out], paired)
        for labels, right in zip(targets, found, strict=True):
            answer = _pair_answer if paired else _class_answer
            right[out] = answer(seen, labels[~out], unseen, strength) == labels[out]
    return found


def cluster_folds(clusters: Sequence[str], folds: int, seed: int) -> Codes:
    """The part [n] of each row: clusters in an order drawn from the seed, dealt out one by one."""
    names = sorted(set(clusters))
    order = np.random.default_rng(keyed_seed("folds", seed)).permutation(len(names))
    part = {names[at]: place % folds for place, at in enumerate(order)}
    return np.array([part[name] for name in clusters], dtype=np.int64)


def _prepared(
    seen: NDArray[np.floating], unseen: NDArray[np.floating], paired: bool
) -> tuple[Floats, Floats]:
    """Both scaled by the seen rows (of pairs not moved: the order of a pair is arbitrary), and, where there are fewer
    rows than features, turned into the space of the seen rows, which changes no penalised regression."""
    first, second = seen.astype(np.float64), unseen.astype(np.float64)
    if not paired:
        middle = first.mean(axis=0)
        first, second = first - middle, second - middle
    scale = np.sqrt((first**2).mean(axis=0))
    scale[scale < 1e-12 * max(scale.max(), 1e-300)] = np.inf  # a feature that does not vary says nothing
    first, second = first / scale, second / scale
    if first.shape[1] > len(first):
        left, sizes, right = np.linalg.svd(first, full_matrices=False)
        first, second = left * sizes, second @ right.T
    return first, second


def _class_answer(seen: Floats, labels: Codes, unseen: Floats, strength: float) -> Codes:
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(labels)) < 2:
        return np.full(len(unseen), labels[0])
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=1000)
    answer: Codes = model.fit(seen, labels).predict(unseen)
    return answer


def _pair_answer(seen: Floats, orders: Codes, unseen: Floats, strength: float) -> Codes:
    from sklearn.linear_model import LogisticRegression

    # which of a pair comes first changes no loss without an intercept; both classes must be there
    turned = np.where(np.arange(len(seen)) % 2 == 0, 1, -1)
    model = LogisticRegression(C=strength, fit_intercept=False, max_iter=1000)
    model.fit(seen * (orders * turned)[:, None], turned)
    scores = unseen @ model.coef_[0]
    # a tie is answered neither way
    answer: Codes = np.sign(scores).astype(np.int64)
    return answer


def _dealt(examples: Examples, truth: Codes, seed: int, number: int) -> Codes:
    draw = np.random.default_rng(keyed_seed("control", seed, number))
    if examples.labels is None:
        return np.where(draw.random(len(truth)) < 0.5, 1, -1)
    names = sorted(set(examples.clusters))
    own: dict[str, set[int]] = {name: set() for name in names}
    for name, label in zip(examples.clusters, truth, strict=True):
        own[name].add(int(label))
    if any(len(labels) > 1 for labels in own.values()):
        return truth[draw.permutation(len(truth))]
    labels = [next(iter(own[names[at]])) for at in draw.permutation(len(names))]
    dealt = dict(zip(names, labels, strict=True))
    return np.array([dealt[name] for name in examples.clusters], dtype=np.int64)


def _weights(labels: Codes, paired: bool) -> Floats:
    """What a row counts [n], so that every class counts alike."""
    if paired:
        return np.full(len(labels), 1 / len(labels))
    _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    found: Floats = 1 / (len(counts) * counts[codes])
    return found


def _shares(sums: Floats, states: int) -> tuple[Floats, Floats, Floats]:
    """Accuracies [r, states], controls [r, states] and the baseline [r] from sums of weights."""
    own, control = sums[:, -2:-1], sums[:, -1:]
    accuracy = sums[:, : states + 1] / own
    return accuracy[:, :-1], sums[:, states + 1 : 2 * states + 1] / control, accuracy[:, -1]
