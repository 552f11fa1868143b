"""The extension module: a training on arrays, and a model that answers."""

import os
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

_Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.float32] | npt.NDArray[np.float64]

class NoPropError(Exception):
    """A training that failed, or weights that cannot be used."""

class Training:
    """A training on arrays, which ends early when Python has a signal or a callback raises."""

    def __new__(
        cls,
        pixels: _Pixels,
        labels: npt.NDArray[np.uint32],
        shape: tuple[int, int, int],
        class_names: Sequence[str],
        pixel_range: tuple[float, float],
        settings: str,
        threads: int | None = None,
    ) -> Training: ...
    def run(self, report: Callable[[int, int, float, float | None, float], object] | None = None) -> None: ...
    def length(self) -> tuple[int, int, int]: ...
    def remarks(self) -> list[tuple[bool, str]]: ...
    def weights(self) -> bytes: ...

class Model:
    """A trained network that answers. Every image is classified by itself, so its answer does not depend on the images beside it."""

    def __new__(cls, weights: bytes, name: str = "model.safetensors") -> Model: ...
    @property
    def shape(self) -> tuple[int, int, int]: ...
    @property
    def class_names(self) -> list[str]: ...
    @property
    def pixel_range(self) -> tuple[float, float] | None: ...
    @property
    def settings(self) -> str: ...
    def weights(self) -> bytes: ...
    def save(self, path: str | os.PathLike[str], replace: bool, beside: Sequence[tuple[str, bytes]]) -> None: ...
    def classify(
        self, pixels: _Pixels, pixel_range: tuple[float, float], threads: int | None = None
    ) -> npt.NDArray[np.float32]: ...
    def denoise(
        self, pixels: _Pixels, pixel_range: tuple[float, float], threads: int | None = None
    ) -> tuple[npt.NDArray[np.float32] | None, npt.NDArray[np.float32]]: ...

_Images = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint32]]

def mnist_sample() -> tuple[_Images, _Images]: ...
