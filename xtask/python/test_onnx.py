"""The graphs of `noprop export` give the probabilities that noprop itself gives, for the same images and noise.

NOPROP names the program. NOPROP_ONNX_CASE names the built example `case` of noprop-onnx; without it cargo builds and runs it.
Packages: pytest, numpy, onnx, onnxruntime.
"""

import json
import os
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
CASE = "cargo run --quiet --locked -p noprop-onnx --example case --".split()

# Neither square nor even after pooling, so that no two sides can be mixed up.
HEIGHT, WIDTH = 18, 22
CLASSES = ["across", "along", "both"]

# What is trained, and the ways in which it is exported: sampler, runs, and where time is continuous solver and steps. Loops begin at
# more than 64 steps.
MEAN, NOISY = ["mean", "1"], ["stochastic", "3"]
POSTERIOR, EULER, HEUN = ["posterior", "7"], ["euler", "7"], ["heun", "7"]
RUNS = {
    "dt": ("--method dt --steps 3 --padding 1 --normalize channel", [MEAN, NOISY]),
    "dt-learned": ("--method dt --steps 2 --embedding learned:6 --encoder per-block --readout posterior --ema 0.9", [MEAN]),
    "dt-frozen": ("--method dt --steps 2 --encoder frozen --network resnet:8 --readout bayes", [MEAN]),
    "dt-prototype": ("--method dt --steps 2 --embedding prototype --network mlp:32,2", [NOISY]),
    "dt-vit": ("--method dt --steps 2 --network vit:64,2,2", [MEAN]),
    "ct": (
        "--method ct --steps 5 --network mlp:32,1",
        [
            MEAN + POSTERIOR, NOISY + POSTERIOR, MEAN + EULER, MEAN + HEUN,
            NOISY + ["posterior", "100"], MEAN + ["heun", "100"],
        ],
    ),
    "ct-intervals": (
        "--method ct --steps 6 --intervals 3 --embedding learned:5 --readout bayes --network resnet:4",
        [MEAN + POSTERIOR, MEAN + HEUN, NOISY + ["posterior", "300"], MEAN + ["heun", "300"]],
    ),
    "ct-prototype": ("--method ct --steps 4 --embedding prototype --readout posterior:5 --block-loss cross-entropy", [NOISY]),
    "fm": ("--method fm --steps 4 --normalize channel", [MEAN + EULER, ["mean", "2"] + HEUN, MEAN + ["euler", "100"]]),
    "fm-intervals": (
        "--method fm --steps 4 --intervals 2 --embedding learned:6 --encoder shared --network vit:32,1,2 --ema 0.9",
        [MEAN + EULER, MEAN + HEUN, MEAN + ["heun", "300"]],
    ),
    "fm-prototype": ("--method fm --steps 3 --embedding prototype --padding 1", [MEAN]),
    "adjoint": ("--method adjoint --steps 3", [MEAN + EULER, ["mean", "2"] + HEUN, MEAN + ["heun", "100"]]),
    "adjoint-learned": ("--method adjoint --steps 3 --embedding learned:4 --network mlp:32,1", [MEAN]),
    "backprop": ("--method backprop --steps 3 --embedding learned:6", [["mean", "2"]]),
    "backprop-prototype": ("--method backprop --steps 2 --embedding prototype --encoder per-block", [MEAN]),
    "classifier": ("--method classifier --network resnet:8 --normalize channel", [MEAN]),
    "classifier-vit": ("--method classifier --network vit:32,2,2", [MEAN]),
    "mnist-sample": ("--dataset mnist-sample --method classifier --ema 0.9", [MEAN]),
}


def png(pixels):
    """The bytes of a picture [height, width, 3] of u8."""
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """A folder of colour pictures: stripes across, along or both ways, with much noise. Every fourth has a wrong class, so that a trained
    network is not certain of its answers."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(1)
    down, right = np.mgrid[:HEIGHT, :WIDTH]
    stripes = [np.sin(down), np.sin(right), np.sin(down) * np.sin(right)]
    for half, count in [("train", 120), ("test", 20)]:
        for label, name in enumerate(CLASSES):
            (folder / half / name).mkdir(parents=True)
            for number in range(count):
                pattern = stripes[random.integers(3) if number % 4 == 0 else label]
                tint = random.uniform(20, 60, 3)
                noise = random.normal(0, 40, (HEIGHT, WIDTH, 3))
                pixels = np.clip(128 + pattern[..., None] * tint + noise, 0, 255).astype(np.uint8)
                (folder / half / name / f"{number}.png").write_bytes(png(pixels))
    return folder


def call(*arguments):
    """The program's answer."""
    done = subprocess.run([os.environ["NOPROP"], *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def case(run, folder, way):
    """The model of a run, and images, noise and noprop's answers to them."""
    program = [os.environ["NOPROP_ONNX_CASE"]] if "NOPROP_ONNX_CASE" in os.environ else CASE
    done = subprocess.run([*program, run, folder, *way], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "model.onnx", dict(np.load(folder / "case.npz"))


@pytest.fixture(scope="session", params=RUNS)
def exported(request, pictures, tmp_path_factory):
    """A run, and for each way in which it is exported the model, and images, noise and noprop's answers to them."""
    settings, ways = RUNS[request.param]
    run = tmp_path_factory.mktemp("runs") / request.param
    data = [] if "--dataset" in settings else ["--dataset", f"folder:{pictures}"]
    short = "--epochs 6 --batch-size 12 --lr 0.003 --threads 1 --quiet".split()
    if not data:
        short[1] = "1"
    call("train", *data, *settings.split(), *short, "--out", run)
    return run, [(way, *case(run, tmp_path_factory.mktemp("case"), way)) for way in ways]


def test_probabilities_are_those_of_noprop(exported):
    """A layer, factor or noise in the wrong place changes probabilities, unless they are all alike or all certain."""
    run, ways = exported
    for way, model, arrays in ways:
        onnx.checker.check_model(str(model), full_check=True)
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        inputs = [port.name for port in session.get_inputs()]
        outputs = [port.name for port in session.get_outputs()]
        assert set(inputs) | set(outputs) == set(arrays)
        # Any number of images, and an answer does not depend on the others.
        differences, logarithms = [], []
        for images in (slice(0, None), slice(3, 4)):
            answers = session.run(outputs, {name: arrays[name][images] for name in inputs})
            for name, found in zip(outputs, answers):
                expected = arrays[name][images]
                assert found.shape == expected.shape, (way, name)
                differences.append(np.abs(found - expected).max())
                likely = expected > 1e-10
                logarithms.append(np.abs(np.log(found[likely]) - np.log(expected[likely])).max())
        certainties = [arrays[name].max(-1).mean() for name in outputs]
        print(
            f"{run.name} {' '.join(way)}: {max(differences):.1e}, in logarithms {max(logarithms):.1e}, "
            f"certainty {[f'{certainty:.3f}' for certainty in certainties]}, {model.stat().st_size} bytes"
        )
        assert max(differences) < 1e-4, way
        assert max(logarithms) < 1e-2, way
        # At least one output is between chance and certainty.
        chance = 1 / arrays["probabilities"].shape[1]
        assert any(1.1 * chance < certainty < 0.99 for certainty in certainties), way


def test_the_program_writes_the_same_bytes(exported, tmp_path):
    """The program must write the model that was compared, at every call, and say what is in it."""
    run, ways = exported
    for way, model, arrays in ways:
        flags = ["--sampler", "--runs", "--solver", "--steps"]
        flags = [word for pair in zip(flags, way) for word in pair]
        out = tmp_path / "again.onnx"
        said = json.loads(call("export", run, "--format", "onnx", "--out", out, "--force", "--json", *flags))
        assert out.read_bytes() == model.read_bytes(), way
        for name, shape in (said["inputs"] | said["outputs"]).items():
            assert list(arrays[name].shape[1:]) == shape, (way, name)
        told = {entry.key: entry.value for entry in onnx.load(out).metadata_props}
        assert json.loads(told["class_names"]) == json.loads(told["settings"])["images"]["class-names"]
        assert told["sampler"] == way[0] and told["runs"] == way[1]
        assert 0 < float(told["test_accuracy"]) <= 1


def test_an_estimator_of_python_is_written(tmp_path):
    """What was trained in Python is deployed like any other run; its pixels are its numbers, from the least to the greatest."""
    from noprop import NoPropClassifier

    random = np.random.default_rng(2)
    labels = random.integers(0, 3, 90)
    samples = random.normal(labels[:, None], 2, (90, 6))
    estimator = NoPropClassifier("classifier", epochs=3).fit(samples, labels)
    estimator.save(tmp_path / "estimator")
    call("export", tmp_path / "estimator", "--format", "onnx", "--out", tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    low, high = estimator.pixel_range_
    images = ((samples - low) / (high - low)).astype(np.float32).reshape(-1, *estimator.image_shape_)
    (found,) = session.run(["probabilities"], {"image": images})
    expected = estimator.predict_proba(samples)
    assert np.abs(found - expected).max() < 1e-4
    assert 0.4 < expected.max(-1).mean() < 0.99
