"""The events of a training, read back by TensorBoard itself."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto import event_pb2
from tensorboard.plugins.hparams import plugin_data_pb2

NOPROP = os.environ["NOPROP"]
EPOCHS = 3
# 28 steps an epoch: windows of 50 steps, and the ends of epochs.
POINTS = [28, 50, 56, 84]
TRAIN = ["train", "--dataset", "mnist-sample", "--steps", "2", "--epochs", str(EPOCHS)]


def noprop(folder, *args):
    done = subprocess.run([NOPROP, *args], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


def read(run):
    """What TensorBoard makes of a run, all points kept."""
    everything = {"scalars": 0, "images": 0, "tensors": 0}
    events = EventAccumulator(str(run), size_guidance=everything)
    return events.Reload()


def steps(events, tag):
    return [scalar.step for scalar in events.Scalars(tag)]


def raw_steps(run):
    """The steps of each tag in the files themselves, without TensorBoard's removal of doubled points."""
    found = {}
    for file in sorted(run.glob("events.out.tfevents.*")):
        for message in RawEventFileLoader(str(file)).Load():
            event = event_pb2.Event.FromString(message)
            for value in event.summary.value:
                found.setdefault(value.tag, []).append(event.step)
    return found


def settings(events):
    (text,) = events.Tensors("settings/text_summary")
    return text.tensor_proto.string_val[0].decode()


def hyperparameters(events):
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    return plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    noprop(folder, *TRAIN, "--quiet", "--tensorboard", "--out", "run")
    return folder / "run"


def test_scalars_are_those_of_the_log(whole):
    events = read(whole)
    log = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    epochs = [event for event in log if event["event"] == "epoch"]
    test = [event for event in log if event["event"] == "test"][0]
    expected = {"training/learning_rate", "training/images_per_second", "validation/accuracy"}
    expected |= {"test/accuracy", "test/training_accuracy", "loss/readout"}
    for block in ["block.1", "block.2"]:
        expected |= {f"{group}/{block}" for group in ["loss", "error", "validation", "test"]}
    assert set(events.Tags()["scalars"]) == expected
    assert steps(events, "loss/block.1") == POINTS
    accuracies = events.Scalars("validation/accuracy")
    assert [scalar.step for scalar in accuracies] == [28, 56, 84]
    for scalar, epoch in zip(accuracies, epochs):
        assert scalar.value == pytest.approx(epoch["validation_accuracy"])
    speeds = events.Scalars("training/images_per_second")
    assert [scalar.step for scalar in speeds] == [28, 56, 84]
    for scalar, epoch in zip(speeds, epochs):
        assert scalar.value == pytest.approx(epoch["images_per_second"])
    (accuracy,) = events.Scalars("test/accuracy")
    assert accuracy.value == pytest.approx(test["accuracy"]) and accuracy.step == 84
    # The first epoch is one window.
    first = {loss["part"]: loss for loss in epochs[0]["losses"]}
    assert events.Scalars("loss/block.1")[0].value == pytest.approx(first["block.1"]["loss"])
    assert events.Scalars("error/block.2")[0].value == pytest.approx(first["block.2"]["error"])
    rates = [scalar.value for scalar in events.Scalars("training/learning_rate")]
    assert rates[0] == pytest.approx(epochs[0]["lr"]) and rates[-1] == pytest.approx(epochs[2]["lr"])


def test_figures_settings_and_hyperparameters_are_there(whole):
    events = read(whole)
    figures = {f"figures/{path.stem}" for path in (whole / "figures").glob("*.png")}
    assert set(events.Tags()["images"]) == figures and "figures/schedule" in figures
    (image,) = events.Images("figures/schedule")
    png = (whole / "figures" / "schedule.png").read_bytes()
    assert image.encoded_image_string == png
    assert (image.width, image.height) == tuple(
        int.from_bytes(png[at : at + 4], "big") for at in (16, 20)
    )
    assert (whole / "config.toml").read_text() in settings(events)
    (card,) = events.Tensors("model card/text_summary")
    card = card.tensor_proto.string_val[0].decode()
    assert card.startswith("# NoProp on") and (whole / "README.md").read_text().endswith(card)
    hparams = hyperparameters(events)
    assert hparams["method"].string_value == "dt"
    assert hparams["epochs"].number_value == EPOCHS
    content = events.summary_metadata["_hparams_/experiment"].plugin_data.content
    experiment = plugin_data_pb2.HParamsPluginData.FromString(content).experiment
    assert {info.name for info in experiment.hparam_infos} == set(hparams)
    assert set(events.Tags()["scalars"]) > {info.name.tag for info in experiment.metric_infos}
    content = events.summary_metadata["_hparams_/session_end_info"].plugin_data.content
    end = plugin_data_pb2.HParamsPluginData.FromString(content).session_end_info
    assert end.status == 1


def test_a_training_that_goes_on_has_no_point_twice(tmp_path, whole):
    run = tmp_path / "run"
    training = subprocess.Popen(
        [NOPROP, *TRAIN, "--tensorboard", "--out", "run"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    # Within the second epoch, after a point that the resumed training does not write again.
    for line in training.stderr:
        if line.startswith("epoch 1/"):
            break
    time.sleep(0.3)
    training.send_signal(signal.SIGINT)
    said = training.stderr.read()
    assert training.wait() == 0
    assert "stopped after" in said, "the training was over before it could be stopped"
    before = raw_steps(run)["loss/block.1"]
    noprop(tmp_path, "train", "--resume", "run", "--quiet")
    after = raw_steps(run)
    assert len(list(run.glob("events.out.tfevents.*"))) == 1
    for tag, at in after.items():
        assert len(at) == len(set(at)), f"{tag}: {at}"
    assert after["loss/block.1"][: len(before)] == before
    assert after["loss/block.1"] == POINTS
    assert after["validation/accuracy"] == [28, 56, 84]
    assert steps(read(run), "validation/accuracy") == [28, 56, 84]
    # Resumed at its end it is only tested again.
    noprop(tmp_path, "train", "--resume", "run", "--quiet")
    assert raw_steps(run) == after
    # Trained further, and again from the beginning.
    noprop(tmp_path, "train", "--resume", "run", "--epochs", str(EPOCHS + 1), "--quiet")
    further = raw_steps(run)
    for tag, at in further.items():
        assert len(at) == len(set(at)), f"{tag}: {at}"
    assert further["validation/accuracy"] == [28, 56, 84, 112]
    events = read(run)
    assert (run / "config.toml").read_text() in settings(events)
    assert hyperparameters(events)["epochs"].number_value == EPOCHS + 1
    noprop(tmp_path, *TRAIN, "--quiet", "--force", "--out", "run")
    assert not list(run.glob("events.out.tfevents.*")), "the events of the replaced run are left"
