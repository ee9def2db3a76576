"""Images as text: PNG in data URLs, some hundred bytes each, that a page shows and a program reads back."""

from __future__ import annotations

import base64
import io

import numpy as np

from nn import Array
from service.errors import InputError


class NoPicture(InputError):
    def __init__(self, error: Exception) -> None:
        super().__init__(f"what was sent as a picture is none: {error}")


_HEAD = "data:image/png;base64,"


def data_url(image: Array) -> str:
    """An image (height, width) or (height, width, 3) uint8 as a data URL."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return _HEAD + base64.b64encode(out.getvalue()).decode()


def image_of(url: str) -> Array:
    """The image of such a URL: the other way of `data_url`."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(base64.b64decode(url.removeprefix(_HEAD))), formats=("PNG",)) as image:
            return np.array(image)
    except (OSError, ValueError) as error:
        raise NoPicture(error) from None
