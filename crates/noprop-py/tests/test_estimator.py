"""The estimator as scikit-learn has them: its own checks, settings, labels, and what is learned."""

import warnings

import numpy as np
import pytest
from noprop import NoPropClassifier
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import train_test_split
from sklearn.utils.estimator_checks import estimator_checks_generator

# Checks that cannot pass, with the reason.
EXPECTED_FAILED_CHECKS = {}

CHECKS = list(
    estimator_checks_generator(
        NoPropClassifier(steps=2, epochs=10, network="mlp:32,1", threads=1),
        legacy=True,
        expected_failed_checks=EXPECTED_FAILED_CHECKS,
        mark="xfail",
    )
)


def name(check):
    return getattr(check, "func", check).__name__


@pytest.mark.parametrize("estimator, check", CHECKS, ids=[name(check) for _, check in CHECKS])
def test_scikit_learn_accepts_it(estimator, check):
    """Faults that pipelines and searches would meet: a parameter that changes in fit, an array that is changed, a wrong exception."""
    check(estimator)


def test_the_digits_are_learned():
    """Pixels of 0 to 16 that were cut to bytes of 0 to 1, or not scaled at all, would not be."""
    data = load_digits()
    X, X_test, y, y_test = train_test_split(data.images, data.target, random_state=0)
    classifier = NoPropClassifier(epochs=10, batch_size=64).fit(X, y)
    assert classifier.score(X_test, y_test) > 0.96
    assert classifier.pixel_range_ == (0.0, 16.0)
    assert classifier.image_shape_ == (1, 8, 8)


def test_bytes_and_numbers_of_the_same_pixels_are_the_same_samples(digits, small):
    """Otherwise an array would be learned in another way than its copy of another type."""
    images, labels = digits
    as_bytes = (images * 15).astype(np.uint8)
    bytes_ = clone(small).fit(as_bytes, labels)
    numbers = clone(small).set_params(pixel_range=(0, 255)).fit(as_bytes.astype(np.float64), labels)
    assert bytes_.pixel_range_ == numbers.pixel_range_ == (0.0, 255.0)
    assert (bytes_.predict_proba(as_bytes) == numbers.predict_proba(as_bytes)).all()
    flat = clone(small).set_params(image_shape=(8, 8)).fit(as_bytes.reshape(len(images), -1), labels)
    assert flat.model_.weights() == bytes_.model_.weights()
    channels = clone(small).fit(as_bytes[:, np.newaxis], labels)
    assert channels.model_.weights() == bytes_.model_.weights()


@pytest.mark.parametrize(
    "names",
    [["two", "zero", "one"], [30, -1, 7], [2.5, 0.0, 1.0], ["b", "ä" * 40, ""], [np.int8(5), np.int8(3), np.int8(4)]],
    ids=str,
)
def test_labels_of_any_type_come_back(digits, small, names, tmp_path):
    """A classifier that answers with numbers for names would have an accuracy of 0."""
    images, labels = digits
    y = np.array(names)[labels]
    if y.dtype.kind == "f":
        y = y.astype(str).astype(object)
    small.fit(images, y)
    assert list(small.classes_) == sorted(set(y))
    assert small.score(images, y) > 0.8
    small.save(tmp_path / "run")
    loaded = NoPropClassifier.load(tmp_path / "run")
    assert loaded.classes_.dtype == small.classes_.dtype
    assert (loaded.predict(images) == small.predict(images)).all()


def test_parameters_are_settings(digits, small):
    """A parameter that reached no setting would be ignored in silence."""
    images, labels = digits
    given = dict(
        method="fm",
        encoder="per-block",
        steps=4,
        network="mlp:16,1",
        embedding="learned:5",
        epochs=2,
        batch_size=16,
        learning_rate=0.01,
        ema=0.5,
        clip_gradients=0.25,
        patience=1,
        augment="shift:1",
        class_weights="balanced",
        random_state=7,
        settings={"weight-decay": 0.5, "intervals": 2},
    )
    settings = small.set_params(**given).fit(images, labels).settings_
    assert small.get_params()["network"] == "mlp:16,1"
    expected = {
        "method": "fm",
        "encoder": "per-block",
        "steps": 4,
        "network": "mlp:16,1",
        "embedding": "learned:5",
        "epochs": 2,
        "batch-size": 16,
        "lr": 0.01,
        "ema": 0.5,
        "clip-gradients": 0.25,
        "patience": 1,
        "augment": "shift:1",
        "class-weights": "balanced",
        "seed": 7,
        "validation": 30,
        "weight-decay": 0.5,
        "intervals": 2,
        "dataset": "memory",
    }
    assert {name: settings.get(name) for name in expected} == expected
    other = small.set_params(method="dt", loss="cross-entropy", readout="posterior:0.5", settings=None)
    settings = other.fit(images, labels).settings_
    assert (settings["block-loss"], settings["readout"]) == ("cross-entropy", "posterior:0.5")


def test_the_same_seed_gives_the_same_bytes_on_any_number_of_threads(digits, small):
    """A result that cannot be repeated cannot be checked."""
    images, labels = digits
    weights = [clone(small).set_params(threads=threads).fit(images, labels).model_.weights() for threads in (1, 2, 3)]
    assert weights[0] == weights[1] == weights[2]
    other = clone(small).set_params(random_state=1).fit(images, labels)
    assert other.model_.weights() != weights[0]
    answers = [clone(small).fit(images, labels).set_params(threads=n).predict_proba(images) for n in (1, 2)]
    assert (answers[0] == answers[1]).all()


def test_a_generator_as_seed_is_drawn_from(digits, small):
    """Two trainings with one generator differ, and the same generator repeats both."""
    images, labels = digits

    def two():
        small.set_params(random_state=np.random.RandomState(3), epochs=1)
        return [small.fit(images, labels).settings_["seed"] for _ in range(2)]

    first, second = two()
    assert first != second and two() == [first, second]


def test_before_fit_nothing_answers(small, tmp_path):
    for call in (small.predict, small.predict_proba, small.denoise):
        with pytest.raises(NotFittedError):
            call(np.zeros((1, 4)))
    with pytest.raises(NotFittedError):
        small.save(tmp_path / "run")


@pytest.mark.parametrize("method", ["dt", "ct", "fm"])
def test_denoise_has_the_beliefs_of_every_step(digits, small, method):
    """Beliefs of another image, in another order or of another class would make a wrong picture."""
    images, labels = digits
    small.set_params(method=method, steps=6, settings=None if method == "dt" else {"intervals": 3}).fit(images, labels)
    some = images[:70]
    answers, blocks, chain = small.predict_proba(some), small.denoise(some), small.denoise(some, of="chain")
    assert blocks.shape == chain.shape == (70, 6, 3)
    assert blocks.dtype == chain.dtype == answers.dtype == np.float32
    np.testing.assert_allclose(blocks.sum(-1), 1, atol=1e-4)
    np.testing.assert_allclose(chain.sum(-1), 1, atol=1e-4)
    assert (chain[:, -1] == answers).all()
    # The last block and the answer are two readings of one step.
    assert (blocks[:, -1].argmax(-1) == answers.argmax(-1)).mean() > 0.9
    assert (small.denoise(some[3:4]) == blocks[3:4]).all(), "an image goes its way by itself"


def test_a_method_whose_blocks_believe_nothing_says_so(digits, small):
    images, labels = digits
    small.set_params(method="backprop").fit(images, labels)
    with pytest.raises(ValueError, match="chain"):
        small.denoise(images[:2])
    assert (small.denoise(images[:2], of="chain")[:, -1] == small.predict_proba(images[:2])).all()
    with pytest.raises(ValueError, match="of must be"):
        small.denoise(images[:2], of="nothing")


def test_a_class_that_nothing_learns_is_warned_of():
    """A class whose only sample is held out would be answered wrongly for ever, without a word."""
    labels = np.array([0] * 30 + [1] * 30 + [2])
    samples = np.random.default_rng(0).normal(labels[:, None], 0.1, (61, 4))
    warned = 0
    for seed in range(40):
        estimator = NoPropClassifier("classifier", epochs=1, network="mlp:4,1", validation=20, random_state=seed)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            estimator.fit(samples, labels)
        if any("no training images of 2" in str(warning.message) for warning in caught):
            warned += 1
    assert 3 < warned < 30, "about a third of the seeds hold it out"
