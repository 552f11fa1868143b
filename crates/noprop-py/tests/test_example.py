"""The example that the README names."""

import os
import pathlib
import subprocess
import sys

EXAMPLE = pathlib.Path(__file__).parents[3] / "examples/python/denoise_digits.py"


def test_the_example_draws_a_picture(tmp_path):
    """An example that fails is the first thing that a new user sees."""
    picture = tmp_path / "beliefs.png"
    command = [sys.executable, EXAMPLE, picture, "--epochs", "1", "--steps", "3"]
    ended = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"MPLBACKEND": "agg"})
    assert ended.returncode == 0, ended.stderr
    assert "epoch 1/1" in ended.stdout
    assert picture.read_bytes()[1:4] == b"PNG"
