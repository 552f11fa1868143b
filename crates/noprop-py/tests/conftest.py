"""Small data that all tests share."""

import pytest
from noprop import NoPropClassifier
from sklearn.datasets import load_digits


@pytest.fixture(scope="session")
def digits():
    """Images [300, 8, 8] of 0 to 16, and their labels, of the digits 0 to 2."""
    data = load_digits(n_class=3)
    return data.images[:300], data.target[:300]


@pytest.fixture
def small():
    """An estimator that trains in a moment."""
    return NoPropClassifier(steps=3, epochs=4, network="mlp:32,1", threads=1)


@pytest.fixture(scope="session")
def fitted(digits):
    """A trained estimator, which no test may change."""
    return NoPropClassifier(steps=3, epochs=6, network="mlp:32,1", threads=1).fit(*digits)
