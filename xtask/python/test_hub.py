"""A run as a folder for the Hugging Face hub, read by the hub's own library, and models in the layout of its cache."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from huggingface_hub import ModelCard, scan_cache_dir, snapshot_download
from huggingface_hub.file_download import repo_folder_name
from safetensors import safe_open

NOPROP = os.environ["NOPROP"]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def noprop(folder, *args, env=None, code=0):
    done = subprocess.run(
        [NOPROP, *map(str, args)], cwd=folder, capture_output=True, text=True, env={**os.environ, **(env or {})}
    )
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run, and the folder that is made of it."""
    place = tmp_path_factory.mktemp("hub")
    noprop(place, "train", "--dataset", "mnist-sample", "--steps", 2, "--epochs", 1, "--quiet", "--out", "run")
    noprop(place, "export", "run", "--format", "hub", "--license", "cc-by-sa-3.0", "--out", "model")
    return place


@pytest.fixture(scope="module")
def cache(place, tmp_path_factory):
    """A cache with the folder as the model me/digits."""
    home = tmp_path_factory.mktemp("home")
    model = home / "hub" / repo_folder_name(repo_id="me/digits", repo_type="model")
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(COMMIT)
    snapshot = model / "snapshots" / COMMIT
    blobs = model / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for file in (place / "model").iterdir():
        # As the hub's library keeps files: the content beside, and a link to it.
        (blobs / file.name).write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(Path("../../blobs") / file.name)
    return home


def test_the_card_is_one_of_the_hub(place):
    log = [json.loads(line) for line in (place / "run" / "metrics.jsonl").read_text().splitlines()]
    accuracy = [event for event in log if event["event"] == "test"][-1]["accuracy"]
    for path, licence in [("model", "cc-by-sa-3.0"), ("run", "unknown")]:
        card = ModelCard.load(place / path / "README.md")
        data = card.data
        assert data.license == licence
        assert data.library_name == "noprop" and data.pipeline_tag == "image-classification"
        assert "noprop" in data.tags
        assert data.datasets == ["ylecun/mnist"] and data.metrics == ["accuracy"]
        assert data.model_name == "noprop-dt-mnist-sample"
        (result,) = data.eval_results
        assert result.metric_type == "accuracy" and result.metric_value == accuracy
        assert result.dataset_type == "mnist-sample" and result.dataset_split == "test"
        assert card.text.lstrip().startswith("# NoProp on mnist-sample")


def test_the_folder_has_the_files_of_the_hub(place):
    config = json.loads((place / "model" / "config.json").read_text())
    assert config["model_type"] == "noprop" and config["id2label"]["7"] == "7"
    assert config["noprop"]["method"] == "dt"
    with safe_open(place / "model" / "model.safetensors", "np") as new:
        with safe_open(place / "run" / "model.safetensors", "np") as old:
            assert set(new.keys()) == set(old.keys())
            assert all((new.get_tensor(name) == old.get_tensor(name)).all() for name in old.keys())
    everything = b"".join(file.read_bytes() for file in (place / "model").iterdir())
    assert str(place).encode() not in everything, "a path of this machine"


def test_no_path_of_the_machine_is_published(tmp_path):
    pictures = tmp_path / "it's a secret | place" / "signs"
    for name, at in [("left", 2), ("right", 20)]:
        (pictures / name).mkdir(parents=True)
        for number in range(12):
            write_picture(pictures / name / f"{number}.png", at, number)
    small = ["--split", 0.25, "--steps", 2, "--epochs", 1, "--quiet"]
    # As people name folders: from where they are, and with characters that a shell quotes.
    noprop(pictures, "train", "--dataset", "folder:.", *small, "--out", tmp_path / "here")
    noprop(tmp_path, "train", "--dataset", f"folder:{pictures}", *small, "--out", "run")
    noprop(tmp_path, "train", "--init", "run", "--dataset", f"folder:{pictures}", *small, "--out", "again")
    for run in ["here", "again", "run"]:
        model = tmp_path / f"{run} model"
        noprop(tmp_path, "export", run, "--format", "hub", "--out", model)
        card = (model / "README.md").read_text()
        assert "with the settings in `config.toml`" in card
        for file in model.iterdir():
            assert b"secret" not in file.read_bytes(), (run, file.name)
        value = ModelCard.load(model / "README.md").data.eval_results[0].metric_value
        assert f"{100 * value:.2f} %" in card
        noprop(tmp_path, "eval", model, "--dataset", f"folder:{pictures}")
    noprop(tmp_path, "export", "run", "--format", "hub", "--out", "model")
    for file in (tmp_path / "model").iterdir():
        assert b"secret" not in file.read_bytes(), file.name
    card = ModelCard.load(tmp_path / "model" / "README.md")
    assert card.data.datasets is None
    assert card.data.eval_results[0].dataset_name == "signs"
    # It still knows its classes and its pictures.
    answer = noprop(tmp_path, "predict", "--json", "--run", "model", pictures / "left" / "0.png")
    assert json.loads(answer.stdout)["class"] in ["left", "right"]
    again = noprop(tmp_path, "eval", "model", "--json", "--dataset", f"folder:{pictures}")
    assert json.loads(again.stdout)["total"] > 0


def write_picture(path, column, number):
    """A grey picture of 28 × 28 with a bright bar."""
    from PIL import Image

    picture = Image.new("L", (28, 28), number)
    for x in range(column, column + 5):
        for y in range(28):
            picture.putpixel((x, y), 200 + number)
    picture.save(path)


def test_a_model_in_the_cache_answers(place, cache):
    env = {"HF_HOME": str(cache)}
    assert snapshot_download("me/digits", cache_dir=cache / "hub", local_files_only=True).endswith(COMMIT)
    assert not scan_cache_dir(cache / "hub").warnings
    own = noprop(place, "info", "--json", "run")
    for address in ["hf://me/digits", f"hf://me/digits@{COMMIT}"]:
        found = noprop(place, "info", "--json", address, env=env)
        assert json.loads(found.stdout)["test_accuracy"] == json.loads(own.stdout)["test_accuracy"]
    picture = place / "run" / "figures" / "samples.png"
    here = noprop(place, "predict", "--json", "--run", "run", picture)
    there = noprop(place, "predict", "--json", "--run", "hf://me/digits", picture, env=env)
    assert there.stdout == here.stdout
    noprop(place, "eval", "hf://me/digits", env={"HF_HUB_CACHE": str(cache / "hub")})


def test_what_is_not_there_is_refused_in_one_line(place, cache, tmp_path):
    env = {"HF_HOME": str(cache), "HF_HUB_OFFLINE": "1"}
    refused = [
        (["info", "hf://me/other"], "not whole in the cache"),
        (["info", "hf://digits"], "not the address"),
        (["info", "hf://../../x"], "not the address"),
        (["export", "run", "--format", "hub", "--out", "model"], "is there already"),
        (["export", "run", "--format", "hub", "--out", "m2", "--license", "a b"], "license"),
        (["export", "nothing", "--format", "hub", "--out", "m2"], "nothing"),
    ]
    for args, words in refused:
        said = noprop(place, *args, env=env, code=2).stderr
        assert said.count("\n") == 1 and words in said, said
    assert not (place / "m2").exists()
    # A run that was stopped, and snapshots that lack a file.
    noprop(tmp_path, "train", "--dataset", "mnist-sample", "--quiet", "--out", "run", "--max-time", "1s")
    said = noprop(tmp_path, "export", "run", "--format", "hub", "--out", "m", code=2).stderr
    assert said.count("\n") == 1, said
    snapshot = next((cache / "hub").glob("models--me--digits/snapshots/*"))
    for missing in ["model.safetensors", "config.toml"]:
        content = (snapshot / missing).read_bytes()
        (snapshot / missing).unlink()
        said = noprop(place, "eval", "hf://me/digits", env=env, code=2).stderr
        assert said.count("\n") == 1 and "not whole in the cache" in said, said
        (snapshot / missing).write_bytes(content)
