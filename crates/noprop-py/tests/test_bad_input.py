"""Bad input: a clear exception of Python, and never a panic."""

import numpy as np
import pytest
from noprop import NoPropClassifier, NoPropError
from sklearn.base import clone

FLAT = np.random.default_rng(0).random((40, 6))
LABELS = np.arange(40) % 2
IMAGES = np.zeros((40, 16, 16), np.uint8)


@pytest.mark.parametrize(
    "X, y, words",
    [
        (np.where(FLAT > 0.9, np.nan, FLAT), LABELS, "NaN"),
        (np.where(FLAT > 0.9, np.inf, FLAT), LABELS, "infinity"),
        (np.where(FLAT > 0.9, -1e308, 1e308 * FLAT), LABELS, "too large"),
        (FLAT[:0], LABELS[:0], "0 sample"),
        (FLAT[:, :0], LABELS, "0 feature"),
        (FLAT, np.zeros(40), "1 class"),
        (FLAT, LABELS[:-1], "inconsistent"),
        (FLAT[0], LABELS, "2D array"),
        (FLAT.astype(complex), LABELS, "Complex"),
        (np.full((40, 6), object()), LABELS, "float"),
        (np.full((40, 6), "words"), LABELS, "convert|numeric|float"),
        (np.zeros((40, 1, 1, 1, 1)), LABELS, "dim"),
        (np.zeros((40, 8, 8, 3), np.uint8), LABELS, "channels"),
        (np.zeros((40, 0, 8), np.uint8), LABELS, "0 feature"),
        (FLAT, np.linspace(0, 1, 40), "continuous|label type"),
        (FLAT, np.stack([LABELS, LABELS], 1), "multilabel|1d|label type"),
        (FLAT, [None] * 40, "NaN|None|label type|null"),
        (FLAT, np.where(LABELS == 0, np.nan, 1.0), "NaN"),
        (FLAT[:2], LABELS[:2], "n_samples=2"),
        (FLAT, np.array(["x" * 300, "y"])[LABELS], "class name"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_arrays_that_cannot_be_used_are_refused(small, X, y, words):
    with pytest.raises((ValueError, TypeError), match=words):
        small.fit(X, y)
    assert not hasattr(small, "classes_")


@pytest.mark.parametrize(
    "parameters, words",
    [
        ({"method": "magic"}, "magic"),
        ({"method": 3}, "settings"),
        ({"network": "paper"}, "between 16 and 1024, got 1"),
        ({"network": "mlp:0,0"}, "mlp"),
        ({"network": "mlp:99999,2"}, "mlp"),
        ({"embedding": "prototype"}, "between 16"),
        ({"embedding": "learned:0"}, "learned"),
        ({"readout": "nothing"}, "nothing"),
        ({"loss": "hinge"}, "hinge"),
        ({"encoder": "none"}, "none"),
        ({"steps": 0}, "steps"),
        ({"steps": 10**9}, "steps"),
        ({"steps": -1}, "settings"),
        ({"steps": 2.5}, "settings"),
        ({"epochs": 0}, "epochs"),
        ({"epochs": 10**12}, "settings"),
        ({"batch_size": 0}, "batch-size"),
        ({"batch_size": 10**6}, "batch-size"),
        ({"learning_rate": -1.0}, "lr"),
        ({"learning_rate": float("nan")}, "settings"),
        ({"ema": 2.0}, "ema"),
        ({"clip_gradients": 0}, "clip-gradients"),
        ({"patience": 0}, "settings"),
        ({"patience": 5, "epochs": 5}, "patience"),
        ({"augment": "spin"}, "spin"),
        ({"class_weights": "heavy"}, "heavy"),
        ({"validation": 0}, "validation"),
        ({"validation": 1.0}, "validation"),
        ({"validation": 39}, "validation"),
        ({"validation": True}, "validation"),
        ({"validation": "some"}, "validation"),
        ({"image_shape": (2, 2)}, "2 x 2"),
        ({"image_shape": (0, 6)}, "image_shape"),
        ({"image_shape": 6}, "image_shape"),
        ({"image_shape": (2**40, 2**40)}, "cannot be made"),
        ({"pixel_range": (1, 1)}, "pixel_range"),
        ({"pixel_range": (0, float("inf"))}, "pixel_range"),
        ({"pixel_range": "ab"}, "pixel_range"),
        ({"random_state": -1}, "random_state"),
        ({"random_state": "x"}, "seed"),
        ({"threads": 0}, "threads"),
        ({"threads": 10**6}, "threads"),
        ({"threads": 1.5}, "threads"),
        ({"settings": {"colour": 1}}, "colour"),
        ({"settings": {"epochs": 3}, "epochs": 50}, "epochs"),
        ({"batch_size": 64, "settings": {"batch_size": 8}}, "batch"),
        ({"settings": {"weight-decay": 0.1, "weight_decay": 0.2}}, "weight-decay is given twice"),
        ({"settings": {"seed": 3}}, "seed"),
        ({"settings": {"init": "run"}}, "init"),
        ({"settings": {"dataset": "mnist"}}, "dataset"),
        ({"settings": {"image-size": 32}}, "image-size"),
        ({"settings": {"schedule": "cosine"}, "method": "fm"}, "schedule"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_used_are_refused(small, parameters, words):
    with pytest.raises(ValueError, match=words):
        small.set_params(**parameters).fit(FLAT, LABELS)


def test_an_array_that_no_memory_holds_is_refused(small):
    """An allocation that fails would end the process."""
    wide = np.broadcast_to(np.zeros((1, 1), np.uint8), (40, 2**36))
    with pytest.raises(MemoryError, match="free"):
        small.fit(wide, LABELS)


@pytest.mark.parametrize("call", ["predict", "predict_proba", "denoise"])
def test_answers_that_no_memory_holds_are_refused(small, call):
    """An allocation that fails would end the process."""
    small.fit(FLAT, LABELS)
    many = np.broadcast_to(np.zeros((1, 6), np.uint8), (10**12, 6))
    with pytest.raises(MemoryError, match="free"):
        getattr(small, call)(many)


def test_a_network_that_no_memory_holds_is_refused():
    images = np.zeros((40, 1024, 1024), np.uint8)
    with pytest.raises(MemoryError, match="weights"):
        NoPropClassifier(encoder="per-block", steps=1000).fit(images, LABELS)


def test_strides_and_types_do_not_change_the_samples(small):
    """An array that is read with wrong strides holds other samples."""
    weights = clone(small).fit(FLAT, LABELS).model_.weights()
    wide = np.zeros((40, 12))
    wide[:, ::2] = FLAT
    for same in (
        np.asfortranarray(FLAT),
        wide[:, ::2],
        FLAT[::-1][::-1],
        FLAT.astype(object),
        FLAT.astype(">f8"),
        FLAT.tolist(),
    ):
        assert clone(small).fit(same, LABELS).model_.weights() == weights
    before = FLAT.copy()
    clone(small).fit(FLAT, LABELS)
    assert (before == FLAT).all()


def test_samples_of_another_shape_are_refused(small):
    small.fit(FLAT, LABELS)
    for wrong in (FLAT[:, :5], np.zeros((3, 2, 2)), np.zeros((0, 6)), np.full((2, 6), np.nan)):
        with pytest.raises(ValueError):
            small.predict(wrong)
    images = NoPropClassifier(steps=2, epochs=1, network="mlp:8,1").fit(
        IMAGES + LABELS[:, None, None].astype(np.uint8), LABELS
    )
    assert images.predict(IMAGES.reshape(40, -1)).shape == (40,)
    with pytest.raises(ValueError, match="1 x 8 x 32"):
        images.predict(IMAGES.reshape(40, 8, 32))


def test_numbers_far_outside_of_the_range_are_answered_or_refused(small):
    """A float64 that float32 does not hold would become infinity, and its answer NaN."""
    small.fit(FLAT, LABELS)
    assert np.isfinite(small.predict_proba(np.full((1, 6), 1e6))).all()
    with pytest.raises(ValueError, match="too large"):
        small.predict(np.full((1, 6), 1e300))


def test_a_training_that_diverges_is_an_error(small):
    with pytest.raises(NoPropError, match="loss"):
        small.set_params(learning_rate=1e30, epochs=20).fit(FLAT, LABELS)
    assert not hasattr(small, "classes_")


def test_columns_without_any_variation_are_learned_as_they_are(small):
    """A range of width 0 must not divide by it."""
    small.fit(np.ones((40, 6)), LABELS)
    assert np.isfinite(small.predict_proba(np.ones((2, 6)))).all()
