"""How near the embeddings of an int8 model are to those of the same model in float32."""

from __future__ import annotations

from dataclasses import dataclass

LEAST_COMPARED = 32
LEAST_IMAGES = 2 * LEAST_COMPARED
"""Images with which there is something to calibrate on and to compare on."""


@dataclass(frozen=True)
class Fidelity:
    """What was measured on images that the int8 model was not calibrated on.

    Attributes:
        calibration: SHA-256, in hex, of the pixels that it was calibrated on.
        calibrated: how many images these are.
        compared: how many images were embedded both ways.
        mean: of the cosines of each image's two embeddings.
        percentile_1: of the cosines, the first percentile.
        least: of the cosines.
        neighbours_kept: of each image's nearest ones among those compared, ten of them, the share
            that is the same both ways, in [0, 1].
        nncf: the version that quantised.
    """

    calibration: str
    calibrated: int
    compared: int
    mean: float
    percentile_1: float
    least: float
    neighbours_kept: float
    nncf: str = ""

    def describe(self) -> str:
        """Describe it in a line.

        >>> Fidelity("f" * 64, 224, 128, 0.99361, 0.9841, 0.9732, 0.94).describe()
        'cosine to float32 0.9936 on average, 0.9841 at the 1st percentile, 0.9732 at least; 94.0% \
of the nearest neighbours kept (128 images)'
        """
        return (
            f"cosine to float32 {self.mean:.4f} on average, {self.percentile_1:.4f} at the 1st "
            f"percentile, {self.least:.4f} at least; {self.neighbours_kept:.1%} of the nearest "
            f"neighbours kept ({self.compared} images)"
        )
