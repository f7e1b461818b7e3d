"""The models of a node: those that come with the package, and those installed beside them, a folder each.

The package's own, called ``shipped``, is in use unless another is activated; what comes beside it is there to be
compared with. Which of them is in use is not said here: the node's database holds that, with who decided it and when.
"""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from analysis.errors import AnalysisError, UntrustedWeights
from analysis.files import read_regular
from analysis.model.self_check import self_check
from analysis.model.weights import (
    MANIFEST_NAME,
    MODEL_FILES,
    SEAL_NAME,
    Manifest,
    default_directory,
    packaged_directories,
    read_manifest,
    read_weights,
    seal,
)

__all__ = ["SHIPPED", "InstalledModel", "Listing", "ModelRefused", "Registry", "UnknownModel"]

SHIPPED = "shipped"
"""The reference of the package's own model, whatever its version; an upgrade of the software changes it."""


class UnknownModel(AnalysisError):
    """There is no such model."""


class ModelRefused(AnalysisError):
    """The model is not installed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledModel:
    """A model folder whose manifest can be read; its weights are checked when they are loaded or verified.

    ``packaged`` says that it comes with the software, ``shipped`` that it is the software's own.
    """

    directory: Path
    manifest: Manifest
    shipped: bool = False
    packaged: bool = False

    @property
    def reference(self) -> str:
        """What people and the database call it: ``NAME@VERSION``."""
        return f"{self.manifest.name}@{self.manifest.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The models, the shipped one first, and the folders that hold none, each with the reason."""

    models: tuple[InstalledModel, ...]
    unreadable: tuple[tuple[Path, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """The models in ``directory``, which need not exist, and those of the package."""

    directory: Path

    def list(self) -> Listing:
        """Every model, and every folder that should hold one and does not."""
        models: list[InstalledModel] = []
        unreadable: list[tuple[Path, str]] = []
        package = packaged_directories()
        for folder in (*package, *self._folders()):
            packaged = folder in package
            shipped = folder == default_directory()
            try:
                model = InstalledModel(
                    directory=folder, manifest=read_manifest(folder), shipped=shipped, packaged=packaged
                )
            except UntrustedWeights as error:
                unreadable.append((folder, str(error)))
                continue
            if packaged or folder.name == model.reference:
                models.append(model)
            else:
                unreadable.append((folder, f"its manifest is that of {model.reference}; was the folder renamed?"))
        return Listing(models=tuple(models), unreadable=tuple(unreadable))

    def find(self, wanted: str) -> InstalledModel:
        """The model of a reference: ``NAME@VERSION``, ``shipped``, or a name or version that only one model has.

        Raises:
            UnknownModel: there is none, or more than one; the message names those there are.
        UntrustedWeights: its folder is there, and cannot be used.
        """
        listing = self.list()
        for folder, why in listing.unreadable:
            if folder.name == wanted:
                raise UntrustedWeights(f"{wanted}: {why}")
        models = listing.models
        found = [one for one in models if wanted == one.reference or (one.shipped and wanted == SHIPPED)]
        found = found or [one for one in models if wanted in (one.manifest.name, one.manifest.version)]
        if len(found) == 1:
            return found[0]
        claim = f"{len(found)} models fit {wanted!r}" if found else f"{wanted!r} fits none"
        raise UnknownModel(f"{claim}; there are {', '.join(one.reference for one in models) or 'none at all'}.")

    def install(self, folder: Path) -> InstalledModel:
        """Copy a model folder here, whole or not at all, once it has passed :func:`self_check`.

        The same model again is left as it is.

        Raises:
            ModelRefused: another model has this name and version.
            UntrustedWeights: it is incomplete, changed, or not the network that its manifest names.
        """
        model = InstalledModel(directory=folder, manifest=read_manifest(folder))
        for other in self.list().models:
            if other.reference == model.reference:
                if other.manifest == model.manifest:
                    read_weights(folder)
                    return other
                raise ModelRefused(
                    f"{model.reference} is there already, with other weights or another manifest "
                    f"(SHA-256 {other.manifest.sha256[:12]}... against {model.manifest.sha256[:12]}...); "
                    "give the new one a version of its own."
                )
        self_check(folder)
        self.directory.mkdir(parents=True, exist_ok=True)
        target = self.directory / model.reference
        _copy(folder, target)
        return InstalledModel(directory=target, manifest=model.manifest)

    def export(self, model: InstalledModel, out: Path) -> Path:
        """Copy a model, verified, to the folder ``out/NAME@VERSION``, which :meth:`install` of another node takes.

        Raises:
            ModelRefused: something is there already.
            UntrustedWeights: the installed files are not what their manifest names.
        """
        read_weights(model.directory)
        target = out / model.reference
        if target.exists():
            raise ModelRefused(f"{target} is there already.")
        out.mkdir(parents=True, exist_ok=True)
        _copy(model.directory, target)
        return target

    def _folders(self) -> tuple[Path, ...]:
        if not self.directory.is_dir():
            return ()
        return tuple(sorted(path for path in self.directory.iterdir() if path.is_dir() and path.name[:1] != "."))


def _copy(source: Path, target: Path) -> None:
    """The files of a model, durable under their final name or not there at all; checked again after copying."""
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=target.parent))
    try:
        for name, most_bytes in MODEL_FILES.items():
            if os.path.lexists(source / name):
                (partial / name).write_bytes(read_regular(source / name, most_bytes=most_bytes))
                _sync(partial / name)
        (partial / SEAL_NAME).write_text(seal((partial / MANIFEST_NAME).read_bytes()), encoding="ascii")
        _sync(partial / SEAL_NAME)
        read_weights(partial)
        partial.chmod(0o750)
        _sync(partial)
        partial.rename(target)
        _sync(target.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
