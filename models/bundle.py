"""A trained model on disk: a folder named after the SHA-256 of its manifest, which names the SHA-256 of each file.

- `manifest.json`: what the model is, what it was made from, how good it is.
- `arrays.npz`: the compiled model and golden vectors, plain arrays. This is all that serving reads.
- `estimator.joblib`: scikit-learn's objects, for data scientists on their own machines. It is pickle, so opening it
  runs whatever code it holds; nothing here ever opens it.

A signature over the manifest's bytes will be a file beside it, so that signing changes no digest.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import re
import secrets
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

import fraud
from fraud.errors import MimamoriError
from models.feature_table import FEATURE_NAMES, FEATURE_SCHEMA_DIGEST
from models.files import replacing, sync_folder
from models.scoring import InvalidModelError, Scorer
from models.thresholds import ScoreReference

if TYPE_CHECKING:  # training needs scikit-learn, serving must not
    from models.training import TrainedModel

_FORMAT: Final = 1
_MANIFEST: Final = "manifest.json"
_REQUIRED: Final = {"name", "created_at", "feature_schema_digest", "feature_settings", "score_reference", "files"}
_ARRAYS: Final = "arrays.npz"
_ESTIMATOR: Final = "estimator.joblib"
_LARGEST_MANIFEST: Final = 8 << 20  # bytes
_LARGEST_ARRAYS: Final = 128 << 20  # bytes, packed and unpacked; a usual model has 1 or 2 million
# Leaf sums must be the very same numbers everywhere; exponentials may differ in the last digits between C libraries.
_GOLDEN_TOLERANCE: Final = 1e-6
_LIBRARIES: Final = ("joblib", "numba", "numpy", "scikit-learn")


class ModelBundleError(MimamoriError):
    """A model bundle cannot be used; the message says why."""

    code = "MODEL_BUNDLE"


@dataclass(frozen=True, slots=True)
class ModelBundle:
    """A bundle's name and manifest, without the model itself."""

    digest: str
    manifest: Mapping[str, Any]

    def reference(self, score: str, scope: str) -> ScoreReference:
        """How the "probability" or "anomaly" of "all" or "card_not_present" transactions was spread at training.

        Raises:
            ModelBundleError: the model has no such score.
        """
        try:
            return ScoreReference.from_json(self.manifest["score_reference"][score][scope])
        except KeyError:
            message = f"the model has no reference for {score} of {scope}"
            raise ModelBundleError(message) from None


def save_bundle(trained: TrainedModel, models_dir: Path, *, name: str, created_at: int) -> ModelBundle:
    """Write a trained model under `models_dir`; it appears whole or not at all. `created_at` in epoch milliseconds."""
    import joblib

    arrays: dict[str, Any] = trained.scorer.arrays() | _golden(trained.scorer, trained.golden)
    temporary = models_dir / f".{secrets.token_hex(8)}"
    temporary.mkdir(parents=True)
    try:
        with replacing(temporary / _ARRAYS) as file:
            np.savez(file, **arrays)
        with replacing(temporary / _ESTIMATOR) as file:
            joblib.dump(dict(trained.estimators), file)
        manifest = {
            "format": _FORMAT,
            "name": name,
            "created_at": created_at,
            "feature_schema_digest": FEATURE_SCHEMA_DIGEST,
            "feature_names": list(FEATURE_NAMES),
            "feature_settings": dict(trained.scorer.feature_settings),
            "has_probability": trained.scorer.has_probability,
            **trained.facts,
            "versions": {"mimamori": fraud.__version__, "python": platform.python_version()}
            | {library: version(library) for library in _LIBRARIES},
            "files": {file: _file_facts(temporary / file) for file in (_ARRAYS, _ESTIMATOR)},
        }
        data = json.dumps(manifest, indent=1, allow_nan=False).encode()
        with replacing(temporary / _MANIFEST) as file:
            file.write(data)
        digest = hashlib.sha256(data).hexdigest()
        if not (models_dir / digest).exists():
            temporary.rename(models_dir / digest)
        sync_folder(models_dir)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return ModelBundle(digest, json.loads(data))


def read_bundle(models_dir: Path, digest: str) -> ModelBundle:
    """A bundle's manifest, checked against the bundle's name.

    Raises:
        ModelBundleError: there is no such bundle, or its manifest was changed.
    """
    if not is_digest(digest):
        message = "a model is named by the 64 hexadecimal digits of a SHA-256"
        raise ModelBundleError(message)
    data = _read(models_dir / digest / _MANIFEST, _LARGEST_MANIFEST)
    if hashlib.sha256(data).hexdigest() != digest:
        message = f"the {_MANIFEST} of model {digest[:12]} was changed: it does not have the SHA-256 that names it"
        raise ModelBundleError(message)
    try:
        manifest = json.loads(data)
        known = manifest["format"] == _FORMAT and manifest.keys() >= _REQUIRED
    except (AttributeError, KeyError, TypeError, ValueError):
        known = False
    if not known:
        message = f"the {_MANIFEST} of model {digest[:12]} has a format that this version does not know"
        raise ModelBundleError(message)
    return ModelBundle(digest, manifest)


def load_bundle(models_dir: Path, digest: str) -> Scorer:
    """The scorer of a bundle, after every check.

    Each file is read once, and the bytes that were checked are the bytes that are parsed.

    Raises:
        ModelBundleError: the bundle is missing, too large, changed, made for other features, holds numbers that no
            model has, or does not give the scores that it gave when it was made.
    """
    manifest = read_bundle(models_dir, digest).manifest
    short = digest[:12]
    if manifest["feature_schema_digest"] != FEATURE_SCHEMA_DIGEST:
        message = f"model {short} was trained on another version of the features; train a new one"
        raise ModelBundleError(message)
    data = _read(models_dir / digest / _ARRAYS, _LARGEST_ARRAYS)
    if hashlib.sha256(data).hexdigest() != manifest["files"].get(_ARRAYS, {}).get("sha256"):
        message = f"the {_ARRAYS} of model {short} was changed: it does not have the SHA-256 in the manifest"
        raise ModelBundleError(message)
    arrays = _parse(data, short)
    try:
        scorer = Scorer.from_arrays(arrays, digest=digest, feature_settings=manifest["feature_settings"])
    except InvalidModelError as error:
        message = f"model {short} cannot be used: {error}"
        raise ModelBundleError(message) from error
    _check_golden(scorer, arrays, short)
    return scorer


def is_digest(text: str) -> bool:
    """True for what can name a bundle."""
    return re.fullmatch(r"[0-9a-f]{64}", text) is not None


def _golden(scorer: Scorer, features: NDArray[np.float32]) -> dict[str, Any]:
    probability, anomaly = scorer.score(features)
    return {
        "golden_features": features,
        "golden_decision": scorer.decision(features),
        "golden_isolation": scorer.isolation_score(features),
        "golden_probability": probability,
        "golden_anomaly": anomaly,
    }


def _check_golden(scorer: Scorer, arrays: Mapping[str, NDArray[Any]], short: str) -> None:
    features = arrays.get("golden_features", np.empty((0, 0)))
    if (
        features.dtype != np.float32
        or features.ndim != 2
        or features.shape[1] != len(FEATURE_NAMES)
        or not len(features)
    ):
        message = f"model {short} has no golden vectors"
        raise ModelBundleError(message)
    for name, computed in _golden(scorer, features).items():
        tolerance = 0.0 if name in ("golden_features", "golden_decision") else _GOLDEN_TOLERANCE
        expected = arrays.get(name, np.empty(0))
        if expected.shape != computed.shape or not np.allclose(
            computed, expected, rtol=0.0, atol=tolerance, equal_nan=True
        ):
            message = f"model {short} does not give the scores that it gave when it was made ({name})"
            raise ModelBundleError(message)


def _parse(data: bytes, short: str) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > _LARGEST_ARRAYS:
            message = f"the {_ARRAYS} of model {short} is too large"
            raise ModelBundleError(message)
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        message = f"the {_ARRAYS} of model {short} cannot be parsed: {type(error).__name__}"
        raise ModelBundleError(message) from error


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        message = f"the {path.name} of model {path.parent.name[:12]} cannot be read: {error.strerror}"
        raise ModelBundleError(message) from error
    if len(data) > limit:
        message = f"the {path.name} of model {path.parent.name[:12]} is too large"
        raise ModelBundleError(message)
    return data


def _file_facts(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size": path.stat().st_size}
