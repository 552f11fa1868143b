"""Trained estimators in files: written, read again, and used by the program."""

import copy
import json
import math
import os
import pickle
import subprocess

import noprop
import numpy as np
import pytest
from noprop import NoPropClassifier, NoPropError
from sklearn.datasets import load_digits

NOPROP = os.environ.get("NOPROP")


def test_what_is_saved_is_loaded(fitted, digits, tmp_path):
    """Other labels, another range or other weights would answer otherwise."""
    images, _ = digits
    fitted.save(tmp_path / "run")
    for loaded in (
        NoPropClassifier.load(tmp_path / "run"),
        noprop.load(str(tmp_path / "run")),
        pickle.loads(pickle.dumps(fitted)),
        copy.deepcopy(fitted),
    ):
        assert (loaded.predict_proba(images) == fitted.predict_proba(images)).all()
        assert (loaded.predict(images) == fitted.predict(images)).all()
        assert loaded.model_.weights() == fitted.model_.weights()
        assert loaded.pixel_range_ == fitted.pixel_range_ == (0.0, 16.0)
        assert loaded.settings_ == fitted.settings_
        assert loaded.get_params() == fitted.get_params()
        assert loaded.n_iter_ == fitted.n_iter_ == 6
    assert (tmp_path / "run/model.safetensors").read_bytes() == fitted.model_.weights()


def test_weights_alone_answer_with_the_names_of_classes(fitted, digits, tmp_path):
    images, _ = digits
    fitted.save(tmp_path / "run")
    loaded = NoPropClassifier.load(tmp_path / "run/model.safetensors")
    assert loaded.classes_.dtype.kind == "i", "the record beside it is found"
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes(fitted.model_.weights())
    loaded = NoPropClassifier.load(alone)
    assert list(loaded.classes_) == ["0", "1", "2"]
    assert (loaded.predict_proba(images) == fitted.predict_proba(images)).all()


def test_nothing_is_overwritten_by_accident(fitted, tmp_path):
    fitted.save(tmp_path / "run")
    with pytest.raises(FileExistsError):
        fitted.save(tmp_path / "run")
    fitted.save(tmp_path / "run", overwrite=True)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/thesis.tex").write_text("mine")
    with pytest.raises(FileExistsError):
        fitted.save(tmp_path / "thesis", overwrite=True)
    assert os.listdir(tmp_path / "thesis") == ["thesis.tex"]
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError):
        fitted.save(tmp_path / "file/run")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
@pytest.mark.parametrize("name", ["estimator.json", "model.safetensors"])
def test_pipes_are_not_waited_for(fitted, tmp_path, name):
    """Reading a pipe waits for a program that may never write."""
    fitted.save(tmp_path / "run")
    (tmp_path / "run" / name).unlink()
    os.mkfifo(tmp_path / "run" / name)
    with pytest.raises(NoPropError, match="is damaged: it is not a file"):
        NoPropClassifier.load(tmp_path / "run")


def test_labels_of_a_wide_type_are_loaded(tmp_path):
    """NumPy makes room for the longest text that an array ever held."""
    labels = np.array(["a", "b"], "<U2000")[np.arange(20) % 2]
    estimator = NoPropClassifier(steps=2, epochs=1, network="mlp:4,1").fit(np.eye(20), labels)
    estimator.save(tmp_path / "run")
    loaded = NoPropClassifier.load(tmp_path / "run").classes_
    assert loaded.dtype == estimator.classes_.dtype and list(loaded) == ["a", "b"]


def test_files_that_are_no_estimator_are_refused(fitted, tmp_path):
    with pytest.raises(FileNotFoundError):
        NoPropClassifier.load(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError):
        NoPropClassifier.load(tmp_path)
    wrong = tmp_path / "wrong.safetensors"
    weights = fitted.model_.weights()
    for content in (b"", b"words", weights[:-1], weights + b"\0", weights[:8] + b"x" + weights[9:]):
        wrong.write_bytes(content)
        with pytest.raises(NoPropError, match="wrong.safetensors"):
            NoPropClassifier.load(wrong)
    fitted.save(tmp_path / "run")
    record = tmp_path / "run/estimator.json"
    text = record.read_text()

    def changed(**values):
        return json.dumps(json.loads(text) | values)

    for content in (
        "",
        "[]",
        "[" * 100_000,
        text + " " * (16 << 20),
        text.replace('"dtype"', '"type"'),
        text.replace('"steps": 3', '"colour": 3'),
        changed(parameters=[]),
        changed(epochs=math.inf),
        changed(dtype="<U500000000"),
        changed(dtype="|i1", classes=[0, 1, 300]),
        changed(classes=[[0], [1], [2]]),
        text.replace("[\n  0,", "["),
    ):
        assert content != text
        record.write_text(content)
        with pytest.raises(NoPropError, match="damaged"):
            NoPropClassifier.load(tmp_path / "run")
    # A record of other weights is not used.
    record.write_text(text.replace('"model": "', '"model": "0'))
    assert NoPropClassifier.load(tmp_path / "run").classes_.dtype.kind == "U"


@pytest.mark.skipif(NOPROP is None, reason="NOPROP names no program")
def test_the_program_uses_what_python_trained_and_python_what_the_program_trained(tmp_path):
    """Both have one kind of file: a picture has the class that the estimator gives it."""
    from matplotlib import image
    from PIL import Image

    def run(*arguments):
        return subprocess.run([NOPROP, *map(str, arguments)], capture_output=True, text=True, cwd=tmp_path)

    ended = run("train", "--dataset", "mnist-sample", "--epochs", "1", "--steps", "2", "--out", "run")
    assert ended.returncode == 0, ended.stderr
    of_program = noprop.load(tmp_path / "run")
    assert list(of_program.classes_) == list("0123456789")
    # Bytes are the pixels that the program reads from a file, and other numbers are those from 0 to 1.
    _, (digits, _) = noprop.mnist_sample()
    names = [f"digit-{number}.png" for number in range(12)]
    for name, picture in zip(names, digits):
        # Grey as it is, and not as three colours.
        Image.fromarray(picture).save(tmp_path / name)
    lines = run("predict", "run", "--json", *names).stdout.splitlines()
    answers = np.array([json.loads(line)["probabilities"] for line in lines])
    assert np.abs(of_program.predict_proba(digits[:12]) - answers).max() < 1e-6
    assert np.abs(of_program.predict_proba(digits[:12] / 255) - answers).max() < 1e-6
    with pytest.raises(ValueError, match="from 0 to 1"):
        of_program.predict(digits[:12].astype(float))
    with pytest.raises(NoPropError, match="holds"):
        of_program.save(tmp_path / "run", overwrite=True)
    assert (tmp_path / "run/metrics.jsonl").exists()
    data = load_digits(n_class=2)
    images = np.kron(data.images[:120], np.ones((2, 2))).clip(0, 15)
    as_bytes = (images * 17).astype(np.uint8)
    labels = np.array(["nought", "one"])[data.target[:120]]
    own = NoPropClassifier(steps=2, epochs=8, network="mlp:64,1").fit(as_bytes, labels)
    own.save(tmp_path / "own")
    names = [f"{number}.png" for number in range(10)]
    for name, picture in zip(names, as_bytes):
        image.imsave(tmp_path / name, picture, cmap="gray", vmin=0, vmax=255)
    ended = run("predict", "own", *names)
    assert ended.returncode == 0, ended.stderr
    for name, label in zip(names, own.predict(as_bytes[:10])):
        line = next(line for line in ended.stdout.splitlines() if name in line)
        assert label in line
    # The images of an array are in no file.
    ended = run("eval", "own")
    assert ended.returncode == 2 and "given by a program" in ended.stderr, ended.stderr
