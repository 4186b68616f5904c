"""Which models there are, and which one scores."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from models.bundle import ModelBundle, ModelBundleError, is_digest, load_bundle, read_bundle
from models.files import replacing

_POINTER: Final = "champion"


def list_models(models_dir: Path) -> list[ModelBundle]:
    """Every bundle, newest first.

    Raises:
        ModelBundleError: a bundle's manifest was changed.
    """
    names = [folder.name for folder in models_dir.iterdir() if is_digest(folder.name)] if models_dir.is_dir() else []
    bundles = [read_bundle(models_dir, name) for name in names]
    return sorted(bundles, key=lambda bundle: (bundle.manifest["created_at"], bundle.digest), reverse=True)


def champion(models_dir: Path) -> str | None:
    """The digest of the model that scores; None before the first one is chosen.

    Raises:
        ModelBundleError: the pointer does not hold a digest.
    """
    try:
        digest = (models_dir / _POINTER).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    except ValueError:
        digest = ""
    if not is_digest(digest):
        message = "the champion's pointer file is damaged; choose a champion again"
        raise ModelBundleError(message)
    return digest


def set_champion(models_dir: Path, digest: str) -> None:
    """Let a model score from now on. The pointer changes in one step, so no reader sees half of it.

    Raises:
        ModelBundleError: the bundle does not pass the checks of `load_bundle`; the champion stays as it was.
    """
    load_bundle(models_dir, digest)
    with replacing(models_dir / _POINTER) as file:
        file.write(f"{digest}\n".encode("ascii"))
