"""A segmenter for tests: thresholds in place of the network, the same every time and without weights."""

import numpy as np
import numpy.typing as npt

from analysis.findings import Profile, Provenance

GGO_HU = (-700, -300)


class ThresholdSegmenter:
    """Labels lung above -700 HU as ground glass and above -300 HU as high opacity."""

    def segment(
        self,
        hu: npt.NDArray[np.int16],
        lung_mask: npt.NDArray[np.bool_],
        *,
        slice_spacing_mm: float,
        profile: Profile = Profile.CHEST_CT,
        margin_percent: float | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Label by thresholds (slice, row, column), the same for every profile."""
        assert slice_spacing_mm > 0
        assert margin_percent is None or margin_percent >= 0
        assert profile in Profile
        labels = np.zeros(hu.shape, np.uint8)
        labels[lung_mask & (hu > GGO_HU[0])] = 1
        labels[lung_mask & (hu > GGO_HU[1])] = 2
        return labels

    def provenance(self, profile: Profile) -> Provenance:
        """Say that this is a test."""
        return Provenance(
            model_name=f"thresholds for {profile}",
            model_version="0.0.0-test",
            weights_sha256="0" * 64,
            thresholds={"ggo_hu": GGO_HU[0]},
            runtime="numpy",
            device="cpu",
            software_version="test",
        )
