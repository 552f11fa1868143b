"""NoProp classifiers, which train without back-propagating through their depth.

>>> from noprop import NoPropClassifier
>>> classifier = NoPropClassifier().fit(images, labels)
>>> classifier.predict(others)
"""

import os

# candle has a pool of its own beside the one that computes. Its threads would wait actively and take a core away.
os.environ.setdefault("CANDLE_NUM_THREADS", "1")

from noprop._classifier import NoPropClassifier, Progress, load
from noprop._noprop import NoPropError, mnist_sample

__all__ = ["NoPropClassifier", "NoPropError", "Progress", "load", "mnist_sample"]
