"""The estimator: labels, shapes and settings, over the extension module, which trains and classifies."""

import hashlib
import json
import math
import numbers
import os
import pathlib
import warnings
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from noprop import _noprop, _record

_MODEL = "model.safetensors"
# The shortest side that convolutions take.
_SIDE_OF_CONVOLUTIONS = 16
# The types of arrays that are read as they are. NumPy converts others to the first.
_PIXELS = [np.float64, np.float32, np.uint8]
# The network of smaller images and of tables.
_SMALL_NETWORK = "mlp:256,2"


class Progress(NamedTuple):
    """A step of a training, as `callback` is given it."""

    epoch: int
    """The number of the epoch, from 1."""
    epochs: int
    """The number of epochs."""
    step: int
    """The number of the step in its epoch, from 1."""
    steps: int
    """The number of steps of an epoch."""
    loss: float
    """The mean loss of the blocks in this step; after the last step of an epoch, in the epoch."""
    accuracy: float | None
    """The share of the held-out samples that are classified correctly; None within an epoch."""
    seconds: float
    """The time that the epoch took; 0 within an epoch."""


class NoPropClassifier(ClassifierMixin, BaseEstimator):
    """A classifier that NoProp trains (Li, Teh and Pascanu 2025): a chain of blocks that turn noise into a class.

    Every block learns by itself to guess the class from the sample and a noised class embedding. No error signal crosses from one block to
    another. To classify, the chain starts from noise.

    `X` is an array of samples: [n, features], or images as [n, height, width] or [n, channels, height, width]. `y` holds one label for each.

    **Pixels.** A network is given numbers from 0 to 1. By default the least and the greatest number of all of `X` in `fit` become 0 and 1,
    and later numbers are mapped alike, also beyond 0 and 1; for `uint8` it is 0 and 255. `pixel_range_` has both. There is one scale for all
    features: for columns of different units put a `StandardScaler` before it.

    **Copies.** `fit` copies `X` once, as bytes if it is `uint8` and else as float32. `predict` copies 64 samples at a time. An array that is
    neither uint8, float32 nor float64 is converted by NumPy before that.

    **Held-out samples.** A share of the samples is not trained on: the weights of the epoch that classifies it best are kept.

    Parameters that are None are chosen for the method and the number of samples, as the program `noprop` does. `settings_` has all of them.

    Parameters
    ----------
    method : str, default="dt"
        "dt" (discrete time), "ct" (continuous time), "fm" (flow matching), and for comparison "backprop", "adjoint" and "classifier".
    encoder : str, optional
        The image encoder: "shared" by all blocks, "per-block" or "frozen".
    steps : int, optional
        T, the number of blocks; for methods of continuous time the steps of the solver.
    network : str, optional
        The layers of an encoder: "paper" (convolutions), "mlp:W,D", "resnet:W" or "vit:W,D,P". By default "paper" for images of at least
        16 x 16 pixels and "mlp:256,2" for smaller ones and for features.
    embedding : str, optional
        The class embeddings: "onehot", "learned:D" or "prototype".
    readout : str, optional
        The step from the last embedding to a class: "softmax", "posterior:SIGMA" or "bayes".
    loss : str, optional
        The loss of a block: "squared" or "cross-entropy".
    epochs : int, optional
        Passes over the samples.
    batch_size : int, optional
        Samples in a step.
    learning_rate : float, optional
        The peak of the learning rate.
    ema : float, optional
        The rate of an average over the weights of the last steps, which is then validated and kept.
    clip_gradients : float, optional
        The greatest norm of the gradients of a block, or of an encoder that blocks share.
    patience : int, optional
        The training ends early, once this many epochs in a row were worse on the held-out samples than the best before them.
    augment : str, optional
        Random changes of training images, such as "flip+crop:4": of "rotate:D", "flip", "shift:N", "crop:N" and "cutout:S".
    class_weights : str, optional
        "uniform", or "balanced", with which an image counts the more, the fewer samples its class has.
    validation : float or int, default=0.1
        The share or the number of samples that are held out.
    image_shape : tuple of int, optional
        (height, width) or (channels, height, width) of images that are given as rows of features. By default a row is an image of height 1.
    pixel_range : tuple of float, optional
        The numbers that become 0 and 1. By default they are those of `X`.
    settings : dict, optional
        Further settings of a training by the name that they have in a run's config.toml, such as `{"weight-decay": 0.01}`.
    random_state : int, RandomState or None, default=0
        The seed. The same seed gives the same weights on the same kind of processor, byte for byte, with any number of threads.
    threads : int, optional
        The number of threads, by default one for each core.
    verbose : int, default=0
        1 prints a line for each epoch.
    callback : callable, optional
        Is called with a `Progress` after each step. If it raises, the training ends with its exception.

    Attributes
    ----------
    classes_ : array
        The labels, sorted.
    n_features_in_ : int
        The number of features, channels x height x width for images.
    image_shape_ : tuple of int
        (channels, height, width).
    pixel_range_ : tuple of float
        The numbers that became 0 and 1.
    settings_ : dict
        All settings, by their names in config.toml.
    n_iter_ : int
        The number of epochs that were trained.
    """

    def __init__(
        self,
        method: str = "dt",
        *,
        encoder: str | None = None,
        steps: int | None = None,
        network: str | None = None,
        embedding: str | None = None,
        readout: str | None = None,
        loss: str | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        ema: float | None = None,
        clip_gradients: float | None = None,
        patience: int | None = None,
        augment: str | None = None,
        class_weights: str | None = None,
        validation: float = 0.1,
        image_shape: tuple[int, ...] | None = None,
        pixel_range: tuple[float, float] | None = None,
        settings: dict[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = 0,
        threads: int | None = None,
        verbose: int = 0,
        callback: Callable[[Progress], object] | None = None,
    ) -> None:
        self.method = method
        self.encoder = encoder
        self.steps = steps
        self.network = network
        self.embedding = embedding
        self.readout = readout
        self.loss = loss
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.ema = ema
        self.clip_gradients = clip_gradients
        self.patience = patience
        self.augment = augment
        self.class_weights = class_weights
        self.validation = validation
        self.image_shape = image_shape
        self.pixel_range = pixel_range
        self.settings = settings
        self.random_state = random_state
        self.threads = threads
        self.verbose = verbose
        self.callback = callback

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> "NoPropClassifier":
        """Trains on the samples `X` with the labels `y`, and returns the estimator.

        Other threads of Python run meanwhile. Ctrl-C raises `KeyboardInterrupt` after the present step. If an epoch was complete, the
        estimator then answers with the best weights so far; else it is not fitted. Nor is it after any other exception, also if it was before.

        Raises
        ------
        ValueError
            If an array or a setting cannot be used.
        MemoryError
            If the network does not fit into memory.
        NoPropError
            If the training diverges.
        """
        self._forget()
        X, shape = _flat(X, self.image_shape)
        X, y = validate_data(self, X, y, dtype=_PIXELS)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        classes, labels = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"NoPropClassifier needs samples of two classes, and y has {len(classes)} class")
        shape = shape or (1, 1, X.shape[1])
        network = self.network
        if network is None and min(shape[1:]) < _SIDE_OF_CONVOLUTIONS:
            network = _SMALL_NETWORK
        asked = {
            "method": self.method,
            "encoder": self.encoder,
            "steps": self.steps,
            "network": network,
            "embedding": self.embedding,
            "readout": self.readout,
            "block-loss": self.loss,
            "epochs": self.epochs,
            "batch-size": self.batch_size,
            "lr": self.learning_rate,
            "ema": self.ema,
            "clip-gradients": self.clip_gradients,
            "patience": self.patience,
            "augment": self.augment,
            "class-weights": self.class_weights,
            "validation": _held_out(self.validation, len(X)),
            "seed": _seed(self.random_state),
        }
        asked = {name: value for name, value in asked.items() if value is not None}
        settings = dict(self.settings or {})
        # `batch_size` is `batch-size`.
        twice = sorted(name for name in settings if str(name).replace("_", "-") in asked)
        if twice:
            raise ValueError(f"settings must not have {twice[0]!r}: a parameter of the estimator sets it")
        asked |= settings
        pixel_range = _range(self.pixel_range, X)
        training = _noprop.Training(
            X,
            labels.astype(np.uint32),
            shape,
            [str(label) for label in classes],
            pixel_range,
            json.dumps(asked, default=_plain),
            _threads(self.threads),
        )
        for is_warning, remark in training.remarks():
            if is_warning:
                warnings.warn(remark, UserWarning, stacklevel=2)
            elif self.verbose:
                print(remark, flush=True)
        try:
            training.run(self._reporter(training))
        except KeyboardInterrupt:
            self._keep(training, classes)
            raise
        self._keep(training, classes)
        return self

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[Any]:
        """Returns the most probable label of each sample."""
        best = np.argmax(self.predict_proba(X), axis=1)
        return self.classes_[best]

    def predict_proba(self, X: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Returns the class probabilities, [n, classes] float32, in the order of `classes_`.

        Every sample is classified by itself: its answer does not depend on the samples beside it.
        """
        check_is_fitted(self)
        X = self._samples(X)
        return self.model_.classify(X, self._range_of(X), _threads(self.threads))

    def denoise(self, X: npt.ArrayLike, of: Literal["blocks", "chain"] = "blocks") -> npt.NDArray[np.float32]:
        """Returns the class probabilities along the chain, [n, steps, classes] float32, in the order of `classes_`.

        With `of="blocks"` they are those that the block of each step believes; with `of="chain"` those of the embedding after each step,
        of which the last are `predict_proba`. In "dt" a step is a block. The blocks of "backprop", "adjoint" and "classifier" believe
        nothing by themselves: there `of="blocks"` is a `ValueError`.
        """
        check_is_fitted(self)
        if of not in ("blocks", "chain"):
            raise ValueError(f'of must be "blocks" or "chain", got {of!r}')
        X = self._samples(X)
        blocks, chain = self.model_.denoise(X, self._range_of(X), _threads(self.threads))
        if of == "chain":
            return chain
        if blocks is None:
            method = self.settings_["method"]
            raise ValueError(f'a block of the method {method} gives no class probabilities: ask for of="chain"')
        return blocks

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Writes the trained estimator to the folder `path`.

        It holds the weights in `model.safetensors`, the settings in `config.toml`, both as the program `noprop` has them, and the labels and
        parameters in `estimator.json`. So `noprop predict PATH picture.png` works too.

        Raises
        ------
        FileExistsError
            If `path` exists, unless `overwrite` is true and it is such a folder.
        NoPropError
            If `path` holds more than such a folder, a training of the program `noprop` or files of yours, which are not replaced.
        """
        check_is_fitted(self)
        parameters = {
            name: value for name, value in self.get_params().items() if name not in ("callback", "random_state")
        }
        try:
            estimator = {
                "model": hashlib.sha256(self.model_.weights()).hexdigest(),
                "classes": self.classes_.tolist(),
                "dtype": self.classes_.dtype.str,
                "epochs": self.n_iter_,
                "parameters": parameters | {"random_state": self.settings_["seed"]},
            }
            text = json.dumps(estimator, indent=1, default=_plain)
        except (TypeError, ValueError) as error:
            raise ValueError(f"the labels or parameters cannot be saved: {error}") from error
        self.model_.save(os.fspath(path), bool(overwrite), [(_record.NAME, text.encode())])

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "NoPropClassifier":
        """Returns the estimator that `save` wrote to `path`.

        `path` may also be a run of the program `noprop`, or a file `model.safetensors` alone. Then the labels are the names of the classes,
        as text, and numbers that are not `uint8` must lie between 0 and 1.

        Raises
        ------
        FileNotFoundError
            If there is nothing of that name.
        NoPropError
            If the weights or the record beside them are damaged.
        """
        path = pathlib.Path(path)
        model_path = path / _MODEL if path.is_dir() else path
        weights = _record.read_file(model_path)
        model = _noprop.Model(weights, str(model_path))
        kept = _record.beside(model_path, weights)
        if kept is None:
            estimator, classes, epochs = cls(image_shape=model.shape), np.array(model.class_names), 0
        else:
            estimator, classes, epochs = _record.restored(cls, kept, len(model.class_names))
        estimator._answer_with(model, classes, epochs)
        return estimator

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def __sklearn_is_fitted__(self):
        return hasattr(self, "model_")

    def _samples(self, X):
        """Samples as the model takes them."""
        X, _ = _flat(X, self.image_shape_)
        return validate_data(self, X, reset=False, dtype=_PIXELS)

    def _range_of(self, X):
        """The numbers of `X` that become 0 and 1."""
        if self.model_.pixel_range is not None:
            return self.pixel_range_
        # A run of the program, which read bytes from files.
        if X.dtype == np.uint8:
            return 0.0, 255.0
        if X.size and not (X.min() >= 0 and X.max() <= 1):
            raise ValueError(f"the network takes uint8 or numbers from 0 to 1, got numbers from {X.min()} to {X.max()}")
        return 0.0, 1.0

    def _forget(self):
        """Removes everything that a training set."""
        for name in [name for name in vars(self) if name.endswith("_") and not name.startswith("_")]:
            delattr(self, name)

    def _keep(self, training, classes):
        """Takes the best weights of a training that has completed an epoch."""
        _, steps, done = training.length()
        if done < steps:
            self._forget()
            return
        self._answer_with(_noprop.Model(training.weights()), classes, done // steps)

    def _answer_with(self, model, classes, epochs):
        self.model_ = model
        self.classes_ = classes
        self.image_shape_ = model.shape
        self.n_features_in_ = math.prod(model.shape)
        self.settings_ = json.loads(model.settings)
        self.n_iter_ = epochs
        self.pixel_range_ = model.pixel_range or (0.0, 1.0)

    def _reporter(self, training):
        """The function that the training calls after each step."""
        if self.callback is None and not self.verbose:
            return None
        epochs, steps, _ = training.length()

        def report(epoch, step, loss, accuracy, seconds):
            progress = Progress(epoch, epochs, step, steps, loss, accuracy, seconds)
            if self.verbose and accuracy is not None:
                width = len(str(epochs))
                print(
                    f"epoch {epoch:{width}}/{epochs}  loss {loss:.4f}  held out {100 * accuracy:.2f} %  {seconds:.1f} s",
                    flush=True,
                )
            if self.callback is not None:
                self.callback(progress)

        return report


def load(path: str | os.PathLike[str]) -> NoPropClassifier:
    """Returns the classifier that `NoPropClassifier.save` or the program `noprop` wrote to `path`."""
    return NoPropClassifier.load(path)


def _flat(X, image_shape):
    """Rows of features, and the (channels, height, width) of images, if they are images."""
    shape = _shape(image_shape)
    if not isinstance(X, np.ndarray) or X.ndim not in (3, 4):
        return X, shape
    own = (1, *X.shape[1:]) if X.ndim == 3 else X.shape[1:]
    own = tuple(int(side) for side in own)
    if X.ndim == 4 and own[0] not in (1, 3) and own[2] in (1, 3):
        raise ValueError(
            f"images must be [n, channels, height, width], got {X.shape}: move the channels to the front with X.transpose(0, 3, 1, 2)"
        )
    if shape is not None and own != shape:
        raise ValueError(f"images of {_words(own)} were given, and images of {_words(shape)} were expected")
    return X.reshape(len(X), math.prod(own)), own


def _words(shape):
    return " x ".join(str(side) for side in shape)


def _shape(image_shape):
    """(channels, height, width), as a person writes it."""
    if image_shape is None:
        return None
    try:
        shape = tuple(_whole(side) for side in image_shape)
    except TypeError:
        shape = ()
    if len(shape) not in (2, 3) or any(side < 1 for side in shape):
        raise ValueError(f"image_shape must be (height, width) or (channels, height, width), got {image_shape!r}")
    return (1, *shape) if len(shape) == 2 else shape


def _range(pixel_range, X):
    """The numbers that become 0 and 1."""
    if pixel_range is None:
        return (0.0, 255.0) if X.dtype == np.uint8 else (float(X.min()), float(X.max()))
    try:
        low, high = (float(bound) for bound in pixel_range)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"pixel_range must be two rising numbers, got {pixel_range!r}")
    return low, high


def _held_out(validation, samples):
    """The number of samples that are held out."""
    if isinstance(validation, numbers.Integral) and not isinstance(validation, bool):
        count = int(validation)
    elif isinstance(validation, numbers.Real) and 0 < validation < 1:
        count = math.ceil(validation * samples)
    else:
        raise ValueError(f"validation must be a share between 0 and 1 or a number of samples, got {validation!r}")
    if not 1 <= count <= samples - 2:
        raise ValueError(
            f"n_samples={samples} is too few for validation={validation!r}: at least 1 sample is held out, and 2 samples are trained on"
        )
    return count


def _seed(random_state):
    if isinstance(random_state, numbers.Integral):
        if random_state < 0:
            raise ValueError(f"random_state must not be negative, got {random_state}")
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31))


def _threads(threads):
    if threads is None:
        return None
    try:
        count = _whole(threads)
    except TypeError:
        count = 0
    if not 1 <= count <= 512:
        raise ValueError(f"threads must be between 1 and 512, got {threads!r}")
    return count


def _whole(value):
    """A whole number that is not a bool."""
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    raise TypeError(f"{value!r} is not a whole number")


def _plain(value):
    """A value of NumPy as JSON has it."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{value!r} cannot be written as JSON")
