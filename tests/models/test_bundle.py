from __future__ import annotations

import hashlib
import io
import json
import pickle
import subprocess
import sys
import threading

import joblib
import numpy as np
import pytest
from model_samples import HOME, as_transactions, random_events

from models.bundle import ModelBundleError, load_bundle, read_bundle, save_bundle
from models.estimators import TrainingSettings
from models.features import compute_features
from models.registry import champion, list_models, set_champion
from models.state import CardStates
from models.thresholds import threshold_for_rate
from models.training import train

TOKYO = {"home_country": HOME, "timezone": "Asia/Tokyo"}
QUICK = TrainingSettings(iterations=20, isolation_trees=10, isolation_samples=64)


@pytest.fixture(scope="module")
def columns():
    return as_transactions(random_events(1, 3_000, cards=40, mean_gap_ms=600_000))


@pytest.fixture(scope="module")
def trained(columns):
    labels = (np.nan_to_num(columns["amount"]) > 150_000).astype(np.int8)
    return train(columns, labels, **TOKYO, settings=QUICK)


@pytest.fixture
def saved(trained, tmp_path):
    return save_bundle(trained, tmp_path, name="first", created_at=1_656_633_600_000)


def rewrite(folder, change, *, digest_follows=True):
    """Change the arrays of a bundle as a careful attacker would: with fitting digests in a fitting folder."""
    with np.load(folder / "arrays.npz") as arrays:
        content = dict(arrays)
    change(content)
    np.savez(folder / "arrays.npz", **content)
    return renamed(folder) if digest_follows else folder.name


def renamed(folder, change=lambda manifest: None):
    manifest = json.loads((folder / "manifest.json").read_bytes())
    data = (folder / "arrays.npz").read_bytes()
    manifest["files"]["arrays.npz"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    change(manifest)
    text = json.dumps(manifest).encode()
    (folder / "manifest.json").write_bytes(text)
    digest = hashlib.sha256(text).hexdigest()
    folder.rename(folder.parent / digest)
    return digest


def test_a_loaded_model_scores_as_the_trained_one(trained, saved, tmp_path, columns):
    scorer = load_bundle(tmp_path, saved.digest)
    features = compute_features(columns, CardStates(), **scorer.feature_settings)
    for left, right in zip(trained.scorer.score(features), scorer.score(features), strict=True):
        assert left.tobytes() == right.tobytes()
    assert scorer.digest == saved.digest
    assert scorer.feature_settings == TOKYO | {"small_amount_minor": 200}


def test_a_loaded_model_scores_as_the_estimator_itself(saved, tmp_path, columns):
    """What a data scientist opens gives the decision that is served."""
    estimators = joblib.load(tmp_path / saved.digest / "estimator.joblib")
    scorer = load_bundle(tmp_path, saved.digest)
    features = compute_features(columns, CardStates(), **scorer.feature_settings)
    assert (scorer.decision(features) == estimators["boosting"].decision_function(features)).all()


def test_manifest(saved, tmp_path):
    manifest = json.loads((tmp_path / saved.digest / "manifest.json").read_bytes())
    assert hashlib.sha256((tmp_path / saved.digest / "manifest.json").read_bytes()).hexdigest() == saved.digest
    for file, facts in manifest["files"].items():
        data = (tmp_path / saved.digest / file).read_bytes()
        assert facts == {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    assert manifest["name"] == "first"
    assert manifest["metrics"]["probability"]["positives"] > 0
    assert {"from_at", "to_at", "validation_from_at", "training_rows"} <= manifest["data"].keys()
    assert {"numpy", "scikit-learn", "mimamori"} <= manifest["versions"].keys()
    assert sorted(path.name for path in tmp_path.iterdir()) == [saved.digest]


def test_a_budget_becomes_a_threshold(saved):
    rates = [0.0001, 0.01, 0.2]
    thresholds = [threshold_for_rate(saved.reference("anomaly", "all"), rate) for rate in rates]
    assert thresholds == sorted(thresholds, reverse=True)
    assert len(set(thresholds)) == len(rates)
    with pytest.raises(ModelBundleError, match="no reference"):
        saved.reference("anomaly", "nothing")


def test_a_model_without_labels_is_saved_and_loaded(columns, tmp_path):
    bundle = save_bundle(train(columns, **TOKYO, settings=QUICK), tmp_path, name="anomaly", created_at=0)
    scorer = load_bundle(tmp_path, bundle.digest)
    assert not scorer.has_probability
    assert not bundle.manifest["has_probability"]
    with pytest.raises(ModelBundleError, match="no reference"):
        bundle.reference("probability", "all")


@pytest.mark.parametrize("file", ["arrays.npz", "manifest.json"])
def test_every_flipped_bit_is_noticed(saved, tmp_path, file):
    path = tmp_path / saved.digest / file
    data = path.read_bytes()
    for position in np.random.default_rng(0).integers(0, len(data), 25).tolist():
        changed = bytearray(data)
        changed[position] ^= 1 << position % 8
        path.write_bytes(changed)
        with pytest.raises(ModelBundleError, match="SHA-256"):
            load_bundle(tmp_path, saved.digest)


@pytest.mark.parametrize("file", ["arrays.npz", "manifest.json"])
def test_a_missing_file_is_named(saved, tmp_path, file):
    (tmp_path / saved.digest / file).unlink()
    with pytest.raises(ModelBundleError, match=file):
        load_bundle(tmp_path, saved.digest)


@pytest.mark.parametrize("digest", ["", "..", "../../etc", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_a_name_that_is_no_digest_is_refused(saved, tmp_path, digest):
    with pytest.raises(ModelBundleError, match="64 hexadecimal"):
        load_bundle(tmp_path, digest)


def test_an_unknown_model_is_refused(tmp_path):
    with pytest.raises(ModelBundleError, match="cannot be read"):
        load_bundle(tmp_path, "0" * 64)


def test_a_model_under_another_name_is_refused(saved, tmp_path):
    (tmp_path / saved.digest).rename(tmp_path / ("0" * 64))
    with pytest.raises(ModelBundleError, match="SHA-256 that names it"):
        load_bundle(tmp_path, "0" * 64)


def set_nan(name):
    def change(content):
        content[name] = content[name].copy()
        content[name].flat[0] = np.nan

    return change


def point_outside(content):
    content["boosting_nodes"]["left"][0] = 2**30


def other_scores(content):
    content["boosting_values"] *= 1.001


def other_medians(content):
    content["medians"] += np.float32(10_000)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (set_nan("medians"), "medians holds NaN"),
        (set_nan("ranks"), "ranks holds NaN"),
        (set_nan("numbers"), "numbers holds NaN"),
        (set_nan("boosting_values"), "not finite"),
        (point_outside, "points outside"),
        (other_scores, "golden_decision"),
        (other_medians, "golden_isolation"),
        (lambda content: content.pop("isolation_nodes"), "incomplete"),
        (lambda content: content.pop("medians"), "medians is missing"),
        (lambda content: content.pop("golden_features"), "no golden vectors"),
        (lambda content: content.update(ranks=content["ranks"][:-1]), "ranks is missing or has another"),
        (lambda content: [content.pop(name) for name in list(content) if "isolation_" in name], "no isolation forest"),
    ],
)
def test_arrays_that_make_no_model_are_refused(saved, tmp_path, change, reason):
    digest = rewrite(tmp_path / saved.digest, change)
    with pytest.raises(ModelBundleError, match=reason):
        load_bundle(tmp_path, digest)


def test_pickle_in_the_arrays_is_never_opened(saved, tmp_path):
    class Trap:
        def __reduce__(self):
            return (print, ("the pickle was opened",))

    def change(content):
        content["medians"] = np.array([Trap()], dtype=object)

    digest = rewrite(tmp_path / saved.digest, change)
    with pytest.raises(ModelBundleError, match="cannot be parsed"):
        load_bundle(tmp_path, digest)


def test_a_packed_giant_is_refused_before_it_is_unpacked(saved, tmp_path):
    folder = tmp_path / saved.digest
    np.savez_compressed(folder / "arrays.npz", medians=np.zeros(200 << 20, np.int8))
    digest = renamed(folder)
    assert (tmp_path / digest / "arrays.npz").stat().st_size < 1 << 20
    with pytest.raises(ModelBundleError, match="too large"):
        load_bundle(tmp_path, digest)


def test_other_features_are_refused(saved, tmp_path):
    digest = renamed(tmp_path / saved.digest, lambda manifest: manifest.update(feature_schema_digest="0" * 64))
    with pytest.raises(ModelBundleError, match="another version of the features"):
        load_bundle(tmp_path, digest)


@pytest.mark.parametrize("change", [lambda m: m.update(format=2), lambda m: m.pop("format"), lambda m: m.pop("name")])
def test_an_unknown_manifest_is_refused(saved, tmp_path, change):
    digest = renamed(tmp_path / saved.digest, change)
    with pytest.raises(ModelBundleError, match="format"):
        read_bundle(tmp_path, digest)


def test_the_estimator_is_never_opened(saved, tmp_path):
    """Not even looked at: serving does not need it to be there."""
    (tmp_path / saved.digest / "estimator.joblib").write_bytes(b"not a pickle")
    load_bundle(tmp_path, saved.digest)
    (tmp_path / saved.digest / "estimator.joblib").unlink()
    load_bundle(tmp_path, saved.digest)


def test_loading_and_scoring_need_no_estimator_code(saved, tmp_path):
    program = (
        "import sys\nfrom pathlib import Path\n"
        "import numpy as np\nfrom models.bundle import load_bundle\nfrom models.features import FEATURE_NAMES\n"
        f"scorer = load_bundle(Path({str(tmp_path)!r}), {saved.digest!r})\n"
        "scorer.score(np.zeros((2, len(FEATURE_NAMES)), np.float32))\n"
        "print([name for name in ('sklearn', 'joblib', 'models.training') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_is_left_when_saving_fails(trained, tmp_path, monkeypatch):
    def full_disk(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(joblib, "dump", full_disk)
    with pytest.raises(OSError, match="space"):
        save_bundle(trained, tmp_path, name="first", created_at=0)
    assert list(tmp_path.iterdir()) == []


def test_saving_the_same_model_twice_gives_bundles_of_their_own(trained, tmp_path):
    first = save_bundle(trained, tmp_path, name="first", created_at=1)
    second = save_bundle(trained, tmp_path, name="second", created_at=2)
    assert [bundle.digest for bundle in list_models(tmp_path)] == [second.digest, first.digest]


def test_registry(saved, trained, tmp_path):
    assert champion(tmp_path) is None
    set_champion(tmp_path, saved.digest)
    assert champion(tmp_path) == saved.digest
    second = save_bundle(trained, tmp_path, name="second", created_at=1_656_633_600_001)
    (tmp_path / second.digest / "arrays.npz").write_bytes(b"")
    with pytest.raises(ModelBundleError):
        set_champion(tmp_path, second.digest)
    assert champion(tmp_path) == saved.digest
    assert [bundle.manifest["name"] for bundle in list_models(tmp_path)] == ["second", "first"]


def test_registry_of_an_empty_folder(tmp_path):
    assert list_models(tmp_path / "none") == []
    assert champion(tmp_path / "none") is None


@pytest.mark.parametrize("content", [b"", b"../x", b"\xff\xfe", pickle.dumps("x")])
def test_a_damaged_pointer_is_noticed(tmp_path, content):
    (tmp_path / "champion").write_bytes(content)
    with pytest.raises(ModelBundleError, match="damaged"):
        champion(tmp_path)


def test_readers_see_one_champion_or_the_other(saved, trained, tmp_path):
    second = save_bundle(trained, tmp_path, name="second", created_at=2)
    set_champion(tmp_path, saved.digest)
    seen, done = set(), threading.Event()

    def read():
        while not done.is_set():
            seen.add(champion(tmp_path))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for digest in [second.digest, saved.digest] * 5:
            set_champion(tmp_path, digest)
    finally:
        done.set()
        reader.join()
    assert seen <= {saved.digest, second.digest}
    assert seen


def test_arrays_are_plain(saved, tmp_path):
    data = (tmp_path / saved.digest / "arrays.npz").read_bytes()
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        assert all(not arrays[name].dtype.hasobject for name in arrays)
