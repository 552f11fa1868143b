"""Trains on the digits that are part of the package, and draws what the blocks of the chain believe of a few others.

pip install ./crates/noprop-py matplotlib
python examples/python/denoise_digits.py denoise_digits.png
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np
from noprop import NoPropClassifier, mnist_sample


def most_torn(beliefs, truth):
    """One image of each of six classes: the one whose blocks disagree most with what the last one believes."""
    last = beliefs[:, -1].argmax(-1)
    others = 1 - np.take_along_axis(beliefs, last[:, None, None], axis=-1)[..., 0]
    torn = others.mean(-1)
    best = [max(np.flatnonzero(truth == digit), key=torn.__getitem__) for digit in range(10)]
    return sorted(best, key=torn.__getitem__, reverse=True)[:6]


def draw(images, truth, beliefs, path):
    """Draws each image, and below it the belief of each block: the darker, the more probable."""
    steps = beliefs.shape[1]
    figure, axes = plt.subplots(2, 6, figsize=(12, 4.6), layout="constrained", height_ratios=[1, 2.2])
    for column, (image, label, belief) in enumerate(zip(images, truth, beliefs)):
        picture, chart = axes[:, column]
        answer = belief[-1].argmax()
        picture.imshow(image, cmap="gray_r")
        picture.set_title(f"a {label}, read as {answer}", fontsize=10, color="black" if answer == label else "tab:red")
        picture.axis("off")
        shades = chart.imshow(
            belief.T, cmap="Blues", vmin=0, vmax=1, aspect="auto", origin="lower", extent=(0.5, steps + 0.5, -0.5, 9.5)
        )
        chart.set_xticks(range(1, steps + 1, 3))
        chart.set_yticks(range(10) if column == 0 else [])
        chart.set_xlabel("block")
    axes[1, 0].set_ylabel("class")
    figure.colorbar(shades, ax=axes[1, :], label="probability", pad=0.01)
    figure.suptitle("What each block believes of a digit")
    figure.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture", nargs="?", default="denoise_digits.png", help="the file to draw to")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--steps", type=int, default=10, help="the number of blocks")
    asked = parser.parse_args()

    (images, labels), (others, truth) = mnist_sample()
    classifier = NoPropClassifier(epochs=asked.epochs, steps=asked.steps, verbose=1).fit(images, labels)
    print(f"{100 * classifier.score(others, truth):.1f} % of {len(others)} other digits are read as what they are")
    beliefs = classifier.denoise(others)
    chosen = most_torn(beliefs, truth)
    draw(others[chosen], truth[chosen], beliefs[chosen], asked.picture)


if __name__ == "__main__":
    main()
