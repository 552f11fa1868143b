"""The record beside the weights of an estimator: the labels with their types, and its parameters. A stranger may have written it."""

import hashlib
import json
import stat

import numpy as np

from noprop import _noprop

NAME = "estimator.json"
# The most bytes of a record.
_MOST = 16 << 20
# The most bytes of all labels in memory: their type says how many each of them takes.
_MOST_OF_LABELS = 256 << 20
# What Python and NumPy raise for a text or for values that are not those of a record.
_DAMAGE = (AttributeError, KeyError, MemoryError, OverflowError, RecursionError, TypeError, ValueError)


def read_file(path, most=None):
    """The bytes of a file, `most` if there are more. A pipe would be waited for, and a device may have no end: they are refused."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise _noprop.NoPropError(f"{path} is damaged: it is not a file")
    with path.open("rb") as file:
        return file.read(most)


def beside(model_path, weights):
    """The record beside the weights; None if there is none, or if the weights were replaced since then."""
    path = model_path.with_name(NAME)
    try:
        text = read_file(path, _MOST + 1)
        if len(text) > _MOST:
            raise ValueError(f"it is larger than {_MOST >> 20} MiB")
        kept = json.loads(text)
        return kept if kept["model"] == hashlib.sha256(weights).hexdigest() else None
    except FileNotFoundError:
        return None
    except _DAMAGE as error:
        raise _noprop.NoPropError(f"{path} is damaged: {error}") from error


def restored(cls, kept, count):
    """The estimator of a record, its `count` labels, and the number of epochs that were trained."""
    try:
        # JSON has lists for tuples.
        parameters = {
            name: tuple(value) if isinstance(value, list) else value for name, value in kept["parameters"].items()
        }
        return cls(**parameters), _labels(kept["classes"], np.dtype(kept["dtype"]), count), int(kept["epochs"])
    except _DAMAGE as error:
        raise _noprop.NoPropError(f"{NAME} is damaged: {error}") from error


def _labels(labels, dtype, count):
    """The labels as they were before they were JSON."""
    if len(labels) != count or any(isinstance(label, list) for label in labels):
        raise ValueError("it has other classes than the weights")
    if count * dtype.itemsize > _MOST_OF_LABELS:
        raise ValueError(f"the type {dtype} is too large for its labels")
    classes = np.array(labels, dtype=dtype)
    if classes.tolist() != labels:
        raise ValueError(f"its labels are not of the type {dtype}")
    return classes
