"""What a model must be, whichever engine runs it: the TF-Hub image feature vector interface.

Images float32 [N, S, S, 3] RGB in [0, 1] -> features float32 [N, D]; see
https://www.tensorflow.org/hub/common_signatures/images#image_feature_vector.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from beamvec.errors import ModelError

DEFAULT_INPUT_SIZE = 224

_OUTPUTS = ("feature_vector", "default")


def read_input_size(
    handle: str, names: Sequence[str], dtype: str, shape: Sequence[int | None]
) -> int:
    """Return S, told by the inputs of serving_default: 224 where it leaves the size free.

    Args:
        handle: names the model in errors.
        names: the inputs.
        dtype: type of the first.
        shape: shape of the first, None where a length is free.

    Raises:
        ModelError: if this is not one batch of square RGB images.
    """
    if len(names) != 1:
        raise ModelError(
            f"{handle} is no image feature vector model: serving_default takes "
            f"{len(names)} inputs ({', '.join(names)}), expected one, images"
        )
    if len(shape) != 4 or shape[3] not in (3, None) or shape[1] != shape[2]:
        raise ModelError(
            f"{handle} is no image feature vector model: its input is {dtype} {list(shape)}, "
            "expected float32 [N, S, S, 3]"
        )
    if dtype != "float32":
        raise ModelError(f"{handle} takes {dtype} images, expected float32 in [0, 1]")
    return shape[1] or DEFAULT_INPUT_SIZE


def choose_output(handle: str, names: Collection[str]) -> str:
    """Return which of a signature's outputs holds the features.

    Raises:
        ModelError: if there are several, and none has a name that tells.

    >>> choose_output("m", ["logits", "feature_vector"])
    'feature_vector'
    """
    for name in (*_OUTPUTS, *(names if len(names) == 1 else ())):
        if name in names:
            return name
    raise ModelError(
        f"{handle} is no image feature vector model: it has several outputs "
        f"({', '.join(sorted(names))})"
    )


def read_dimension(handle: str, dtype: str, shape: Sequence[int | None]) -> int | None:
    """Return D, told by the output; None where that leaves it free.

    Raises:
        ModelError: if this is not one float32 vector an image.
    """
    if len(shape) != 2 or dtype != "float32":
        raise ModelError(
            f"{handle} is no image feature vector model: it returns {dtype} {list(shape)}, "
            "expected float32 [N, D]"
        )
    return shape[1]
