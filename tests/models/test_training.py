from __future__ import annotations

import numpy as np
import pytest
from model_samples import HOME, as_transactions, random_events

from fraud.errors import InvalidInputError
from fraud.transactions import Columns
from models.estimators import TrainingSettings, calibrate, fit_boosting, fit_isolation
from models.evaluation import card_precision, evaluate
from models.feature_table import FEATURE_NAMES
from models.features import as_columns, compute_features
from models.sample import Sample
from models.scoring import QUANTILES, Scorer
from models.state import CardStates
from models.training import train

TOKYO = {"home_country": HOME, "timezone": "Asia/Tokyo"}
QUICK = TrainingSettings(iterations=30, isolation_trees=20, isolation_samples=128)
DAY = 86_400_000


@pytest.fixture(scope="module")
def columns():
    return as_transactions(random_events(1, 6_000, cards=80, mean_gap_ms=300_000))


@pytest.fixture(scope="module")
def labels(columns):
    """Large amounts are often fraud, so there is something to learn."""
    large = np.nan_to_num(columns["amount"]) > 120_000
    return (large & (np.random.default_rng(0).random(len(columns)) < 0.6)).astype(np.int8)


@pytest.fixture(scope="module")
def trained(columns, labels):
    return train(columns, labels, **TOKYO, settings=QUICK)


def features_of(columns):
    return compute_features(columns, CardStates(), **TOKYO)


def test_learns_what_there_is_to_learn(trained):
    metrics = trained.facts["metrics"]
    assert metrics["probability"]["auc"] > 0.9
    assert metrics["probability"]["average_precision"] > metrics["anomaly"]["average_precision"]
    assert metrics["probability"]["positives"] == trained.facts["labels"]["validation_positives"] > 20


def test_scores_are_between_0_and_1_and_follow_the_labels(trained, columns, labels):
    probability, anomaly = trained.scorer.score(features_of(columns))
    assert probability.dtype == anomaly.dtype == np.float32
    assert 0 <= probability.min() <= probability.max() <= 1
    assert 0 <= anomaly.min() <= anomaly.max() <= 1
    assert probability[labels == 1].mean() > 5 * probability[labels == 0].mean()


def test_a_row_scores_the_same_alone_and_in_any_batch(trained, columns):
    features = features_of(columns)[:1_500]
    whole = trained.scorer.score(features)
    for size in (1, 7, 1_000):
        parts = [trained.scorer.score(features[start : start + size]) for start in range(0, len(features), size)]
        for position in range(2):
            assert np.concatenate([part[position] for part in parts]).tobytes() == whole[position].tobytes()


def test_training_is_repeatable(trained, columns, labels):
    again = train(columns, labels, **TOKYO, settings=QUICK)
    assert {name: array.tobytes() for name, array in again.scorer.arrays().items()} == {
        name: array.tobytes() for name, array in trained.scorer.arrays().items()
    }
    assert again.facts == trained.facts
    assert again.golden.tobytes() == trained.golden.tobytes()


def test_without_labels_there_is_an_anomaly_and_no_probability(columns):
    model = train(columns, **TOKYO, settings=QUICK)
    probability, anomaly = model.scorer.score(features_of(columns))
    assert np.isnan(probability).all()
    assert not np.isnan(anomaly).any()
    assert not model.scorer.has_probability
    assert set(model.facts["score_reference"]) == {"anomaly"}
    assert model.facts["metrics"]["anomaly"]["auc"] is None


def test_anomaly_is_the_rank_among_the_training_scores(trained, columns):
    later = columns["occurred_at"] >= trained.facts["data"]["validation_from_at"]
    from models.events import is_scored

    used = ~later & is_scored(columns)
    anomaly = trained.scorer.anomaly(features_of(columns)[used])
    shares = [(anomaly <= level).mean() for level in (0.1, 0.5, 0.9, 0.99)]
    assert shares == pytest.approx([0.1, 0.5, 0.9, 0.99], abs=0.01)


def test_what_is_beyond_the_training_data_does_not_tie_at_the_top(trained, columns):
    usual = features_of(columns)[-1:]
    stranger = np.repeat(usual, 4, axis=0)
    for row, width in enumerate((1, 5, 15, 25)):
        stranger[row, :width] = 1e9
    anomaly = trained.scorer.score(stranger)[1]
    isolation = trained.scorer.isolation_score(stranger)
    assert 0.9 < anomaly.max() < 1
    assert len(np.unique(anomaly)) == len(np.unique(isolation)) > 1


def test_only_scored_transactions_are_learnt_from(trained, columns):
    from models.events import is_scored

    facts = trained.facts["data"]
    assert facts["training_rows"] + facts["validation_rows"] == is_scored(columns).sum() < len(columns)


def test_the_validation_slice_comes_after_the_training_slice(columns, labels):
    start = int(columns["occurred_at"].min())
    settings = TrainingSettings(
        iterations=5, isolation_trees=5, train_from_at=start + 3 * DAY, validation_from_at=start + 10 * DAY
    )
    facts = train(columns, labels, **TOKYO, settings=settings).facts["data"]
    assert start + 3 * DAY <= facts["from_at"] < facts["validation_from_at"]
    assert start + 10 * DAY <= facts["validation_from_at"] < start + 10 * DAY + DAY // 2


def test_a_label_that_was_not_known_yet_is_not_learnt_from(columns, labels, trained):
    cut_at = trained.facts["data"]["validation_from_at"]
    in_time = np.where(np.arange(len(columns)) % 2 == 0, columns["occurred_at"], cut_at + 1)
    facts = train(columns, labels, **TOKYO, label_known_at=in_time, settings=QUICK).facts["labels"]
    whole = trained.facts["labels"]
    used = facts["training_positives"] + facts["training_negatives"]
    assert used + facts["training_unknown"] == whole["training_positives"] + whole["training_negatives"]
    assert facts["training_unknown"] == pytest.approx(used, rel=0.1)
    assert facts["validation_positives"] == whole["validation_positives"]

    late = np.full(len(columns), cut_at + 1)
    nothing_known = train(columns, labels, **TOKYO, label_known_at=late, settings=QUICK)
    assert not nothing_known.scorer.has_probability


def test_the_future_does_not_reach_the_training(columns, labels, trained):
    """Other labels and amounts after the cut change the calibration, and nothing that was learnt."""
    later = columns["occurred_at"] >= trained.facts["data"]["validation_from_at"]
    amounts = np.where(later, 1.0, columns["amount"])
    changed = Columns({name: columns[name] for name in columns} | {"amount": amounts}, len(columns))
    other = train(changed, np.where(later, 0, labels).astype(np.int8), **TOKYO, settings=QUICK).scorer.arrays()
    for name, array in trained.scorer.arrays().items():
        if name not in ("numbers", "isotonic_from", "isotonic_to"):
            assert array.tobytes() == other[name].tobytes(), name


def test_states_are_left_ready_for_the_next_transaction(columns, labels):
    states, expected = CardStates(), CardStates()
    train(columns, labels, **TOKYO, states=states, settings=QUICK)
    compute_features(columns, expected, **TOKYO)
    assert states.records.tobytes() == expected.records.tobytes()


def test_progress_rises_to_1(columns, labels):
    steps = []
    train(columns, labels, **TOKYO, settings=QUICK, progress=lambda step, done: steps.append((step, done)))
    shares = [done for _, done in steps]
    assert shares == sorted(shares)
    assert steps[-1] == ("done", 1.0)


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_too_little_to_train_on_is_refused(columns, rows):
    with pytest.raises(InvalidInputError, match="two local days"):
        train(columns.take(np.arange(rows)), **TOKYO, settings=QUICK)


@pytest.mark.parametrize("wrong", [np.zeros(3, np.int8), np.full(6_000, 2, np.int8)])
def test_labels_that_do_not_fit_are_refused(columns, wrong):
    with pytest.raises(InvalidInputError, match="labels"):
        train(columns, wrong, **TOKYO, settings=QUICK)


def synthetic(n, share, seed=0):
    """A sample whose true probability of fraud is known: it depends on one feature."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(n, len(FEATURE_NAMES))).astype(np.float32)
    odds = np.exp(2.0 * features[:, 0] + np.log(share))
    labels = (random.random(n) < odds / (1 + odds)).astype(np.int8)
    times = np.arange(n, dtype=np.int64) * 60_000
    return Sample(features, labels, times, times, times // DAY, random.integers(0, 500, n).astype(np.uint64), times < 0)


@pytest.mark.parametrize("calibration", ["none", "sigmoid", "isotonic"])
@pytest.mark.parametrize("negatives_per_positive", [None, 2.0])
def test_probabilities_mean_what_they_say(calibration, negatives_per_positive):
    """Also when most genuine transactions were left out of the training."""
    settings = TrainingSettings(
        iterations=60,
        feature_share=1.0,
        isolation_trees=2,
        negatives_per_positive=negatives_per_positive,
        calibration=calibration,
    )
    training, validation, test = (synthetic(20_000, 0.02, seed) for seed in range(3))
    scorer, _ = fit_boosting(fit_isolation(training.features, settings)[0], training, settings)
    scorer = calibrate(scorer, validation, settings)
    probability = scorer.probability(test.features)
    assert probability.mean() == pytest.approx(test.labels.mean(), rel=0.15)
    top = probability >= np.quantile(probability, 0.9)
    assert probability[top].mean() == pytest.approx(test.labels[top].mean(), rel=0.2)
    assert bool(scorer.isotonic_from.size) == (calibration == "isotonic")


def test_a_calibration_that_would_turn_the_order_round_is_not_used():
    settings = TrainingSettings(iterations=10, isolation_trees=2)
    training = synthetic(5_000, 0.05)
    scorer, _ = fit_boosting(fit_isolation(training.features, settings)[0], training, settings)
    turned = synthetic(5_000, 0.05, seed=1)
    turned.features[:, 0] *= -1
    assert calibrate(scorer, turned, settings).slope == scorer.slope > 0


def test_a_column_without_any_value_is_no_obstacle():
    settings = TrainingSettings(iterations=5, isolation_trees=5)
    training = synthetic(3_000, 0.05)
    training.features[:, 7] = np.nan
    scorer, estimator = fit_boosting(fit_isolation(training.features, settings)[0], training, settings)
    assert estimator is not None
    assert not np.isnan(np.concatenate(scorer.score(training.features))).any()
    assert np.isnan(training.features[:, 7]).all()


def test_arrays_make_the_same_scorer(trained, columns):
    features = features_of(columns)
    arrays = trained.scorer.arrays()
    again = Scorer.from_arrays(arrays, digest="", feature_settings={})
    for left, right in zip(trained.scorer.score(features), again.score(features), strict=True):
        assert left.tobytes() == right.tobytes()
    assert arrays["ranks"].shape == (QUANTILES,)


def test_card_precision_looks_at_each_found_card_once():
    """Three cards a day, worked out by hand: day 0 finds cards 1 and 2; day 1 finds 4, as 1 is not looked at again."""
    rows = [(0, 1, 0.9, 1), (0, 1, 0.1, 0), (0, 2, 0.8, 1), (0, 3, 0.7, 0), (0, 4, 0.1, 1)]
    rows += [(1, 1, 0.9, 1), (1, 3, 0.8, 0), (1, 4, 0.7, 1), (1, 5, 0.6, 0), (1, 6, 0.5, 1)]
    day, card, score, label = (np.array(column) for column in zip(*rows, strict=True))
    n = len(rows)
    sample = Sample(
        np.zeros((n, 1), np.float32),
        label.astype(np.int8),
        np.zeros(n, np.int64),
        np.zeros(n, np.int64),
        day.astype(np.int64),
        card.astype(np.uint64),
        np.zeros(n, np.bool_),
    )
    assert card_precision(sample, score.astype(np.float32), 3) == pytest.approx((2 / 3 + 1 / 3) / 2)


def test_unknown_labels_are_not_judged():
    sample = synthetic(1_000, 0.2)
    scores = sample.features[:, 0]
    whole = evaluate(sample, scores)
    sample.labels[::2] = -1
    half = evaluate(sample, scores)
    assert half["rows"] == 500 < whole["rows"]
    assert half["positives"] == (sample.labels == 1).sum()


def test_references_cover_card_not_present_apart(trained, columns):
    references = trained.facts["score_reference"]["probability"]
    assert references["all"]["counts"][-1] > references["card_not_present"]["counts"][-1] > 0
    assert references["all"]["cards"] == references["card_not_present"]["cards"] == 80
    named = as_columns(features_of(columns))
    assert set(named) == set(FEATURE_NAMES)
