"""Applies the trained network to a volume: lung box, windows of adjacent slices, labels on the native grid."""

import ctypes
import math
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from analysis.errors import OutOfMemory, UntrustedWeights
from analysis.findings import Profile, Provenance
from analysis.model.crop import LungBox, lung_box
from analysis.model.designs import network_of
from analysis.model.folding import folded
from analysis.model.labels import labels_of
from analysis.model.resampling import OUTSIDE_HU, resampled, restored
from analysis.model.weights import LESION_THRESHOLD, Manifest, default_directory, read_weights

_CPU_BATCH = 1  # larger ones are slower on a CPU: the maps leave its caches
_GPU_BATCH = 16
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
_LARGEST_MMAP_THRESHOLD = 32 * 2**20  # glibc takes no more than this
_KEPT_FREE = 512 * 2**20


class Segmenter:
    """A loaded model. ``segment`` gives the same labels for the same input on the same device.

    Memory beside the caller's volume: a label map of its shape and, on a CPU, less than 0.5 GB for the network.
    Probabilities are held for one batch of slices, at native resolution for one slice.
    """

    def __init__(self, network: nn.Module, manifest: Manifest, *, device: torch.device) -> None:
        self._network = network.to(device).eval()
        self._manifest = manifest
        self._device = device

    @classmethod
    def load(cls, directory: Path | None = None, *, device: str = "auto", threads: int | None = None) -> "Segmenter":
        """The model of a folder (default: the one that comes with the package) on a device.

        ``device`` is ``auto`` (a GPU where there is one), ``cpu`` or ``cuda``. ``threads`` sets torch's number for the
        whole process; None leaves it as it is.

        Raises:
            UntrustedWeights: a file is missing, malformed, or not the one that the manifest names.
            ValueError: the device is not on this machine.
        """
        chosen = _device(device)
        manifest, state = read_weights(directory or default_directory())
        network = network_of(manifest.network)
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise UntrustedWeights("The weights are not those of the network in the manifest.") from error
        if threads is not None:
            torch.set_num_threads(threads)
        if chosen.type == "cpu":
            _keep_freed_memory()
        network = folded(network.eval()).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        return cls(network, manifest, device=chosen)

    @property
    def manifest(self) -> Manifest:
        """What the weights are."""
        return self._manifest

    @property
    def thresholds(self) -> Mapping[Profile, Mapping[str, float]]:
        """The probability at which a pixel is called lesion, by profile."""
        return self._manifest.thresholds

    def provenance(self, profile: Profile) -> Provenance:
        """Which model on what: enough to make a result again."""
        name = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else self._device.type
        return Provenance(
            model_name=self._manifest.name,
            model_version=self._manifest.version,
            weights_sha256=self._manifest.sha256,
            thresholds=dict(self._manifest.thresholds[profile]),
            runtime=f"torch {torch.__version__} float32",
            device=name,
            software_version=version("lungsentry"),
        )

    def segment(
        self,
        hu: NDArray[np.int16],
        lung_mask: NDArray[np.bool_],
        *,
        slice_spacing_mm: float,
        profile: Profile = Profile.CHEST_CT,
        margin_percent: float | None = None,
    ) -> NDArray[np.uint8]:
        """Labels ``(slice, row, column)`` of a volume in HU: 0 background, 1 ground glass, 2 high opacity.

        Labels are on the volume's own grid and lie inside the lung mask; a mask without lung gives background.
        ``margin_percent`` is what is seen around the lungs, where it is not the manifest's: pictures that were cropped
        to the lungs before have none. Where the device is short of memory, fewer slices are computed at a time.

        Raises:
            OutOfMemory: memory of the device, for a single slice, or of the machine is short.
        """
        if hu.shape != lung_mask.shape:
            raise ValueError(f"a volume of shape {hu.shape} with a mask of shape {lung_mask.shape}")
        labels = np.zeros(hu.shape, np.uint8)
        with_lung = np.flatnonzero(lung_mask.any(axis=(1, 2)))
        if not len(with_lung):
            return labels
        margin = self._manifest.crop_margin_percent if margin_percent is None else margin_percent
        box = lung_box(lung_mask, margin_percent=margin)
        threshold = self._manifest.thresholds[profile][LESION_THRESHOLD]
        windows = _Windows(hu, box, self._manifest, stride=self._stride(slice_spacing_mm), lung_slices=with_lung)
        batch, start = _CPU_BATCH if self._device.type == "cpu" else _GPU_BATCH, 0
        with _memory_errors(), _reproducible(), torch.inference_mode():
            while start < len(with_lung):
                centres = with_lung[start : start + batch]
                try:
                    probabilities = self._probabilities(windows.around(centres))
                except torch.OutOfMemoryError:
                    if batch == 1:
                        raise
                    batch //= 2
                    continue
                for k, probability in zip(centres, probabilities, strict=True):
                    native, where = restored(probability, box, hu.shape[1:])
                    found = labels_of(native, axis=2, lesion_probability=threshold)
                    labels[k][where] = np.where(lung_mask[k][where], found, 0)
                start += len(centres)
        return labels

    def _probabilities(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Class probabilities ``(window, row, column, class)`` of z-scored windows."""
        stack = torch.from_numpy(windows).to(self._device)
        return self._network(stack).float().softmax(1).permute(0, 2, 3, 1).contiguous().cpu().numpy()

    def _stride(self, slice_spacing_mm: float) -> int:
        """How many slices away the neighbours are taken, so that they are as far as they were in training.

        0, the slice itself in their place, where even the adjacent ones are too far.
        """
        if not slice_spacing_mm > 0:
            raise ValueError(f"slices {slice_spacing_mm} mm apart")
        nearest, farthest = self._manifest.neighbour_distance_mm
        stride = max(1, math.ceil(nearest / slice_spacing_mm - 0.01))
        return stride if stride * slice_spacing_mm <= farthest else 0


class _Windows:
    """Z-scored windows of a volume; keeps only the prepared slices that the next windows may share."""

    def __init__(
        self,
        hu: NDArray[np.int16],
        box: LungBox,
        manifest: Manifest,
        *,
        stride: int,
        lung_slices: NDArray[np.intp],
    ) -> None:
        self._hu = hu
        self._box = box
        self._manifest = manifest
        half = manifest.network.slices // 2
        self._offsets = stride * np.arange(-half, half + 1)
        self._first, self._last = int(lung_slices[0]), int(lung_slices[-1])
        self._prepared: dict[int, NDArray[np.float32]] = {}

    def around(self, centres: Sequence[int] | NDArray[np.intp]) -> NDArray[np.float32]:
        """Windows ``(window, slice, row, column)``; the ends of the lung are repeated beyond it, as in training."""
        index = np.clip(np.asarray(centres)[:, None] + self._offsets, self._first, self._last)
        oldest = int(index.min())
        self._prepared = {k: plane for k, plane in self._prepared.items() if k >= oldest}
        for k in np.unique(index).tolist():
            if k not in self._prepared:
                self._prepared[k] = self._prepare(k)
        return np.stack([np.stack([self._prepared[k] for k in row]) for row in index.tolist()])

    def _prepare(self, k: int) -> NDArray[np.float32]:
        floor, ceiling = self._manifest.hu_range
        plane = np.clip(self._hu[k], floor, ceiling).astype(np.float32)
        window = resampled(plane, self._box, size=self._manifest.window_size, fill=OUTSIDE_HU)
        return (window - np.float32(self._manifest.mean_hu)) / np.float32(self._manifest.sd_hu)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type not in {"cpu", "cuda"} or (device.type == "cuda" and not torch.cuda.is_available()):
        raise ValueError(f"the device {name!r} is not on this machine")
    return device


def _keep_freed_memory() -> None:
    """Tell glibc to keep the buffers that it would otherwise give back to the kernel after every layer.

    They are about 28 MB each; to have them cleared anew takes a third of the time. Holds for the whole process, and
    nothing happens where the C library is another one.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_FREE)


@contextmanager
def _reproducible() -> Generator[None]:
    """Deterministic convolutions in full float32, so that GPU and CPU agree within rounding."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield


@contextmanager
def _memory_errors() -> Generator[None]:
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise OutOfMemory from error
    except RuntimeError as error:  # the CPU's allocator has no class of its own
        if "allocate memory" in str(error):
            raise OutOfMemory from error
        raise
