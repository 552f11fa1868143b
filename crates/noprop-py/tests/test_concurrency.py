"""A training beside other threads, under Ctrl-C, and with a callback."""

import os
import signal
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

# A process that hangs must not hang the tests; nothing else depends on this time.
PATIENCE = 300


def test_other_threads_run_during_a_training(digits, small):
    """A training that kept Python's lock would freeze a notebook, and this one would never end."""
    images, labels = digits
    seen, waiting = threading.Event(), threading.Event()

    def other():
        waiting.wait(PATIENCE)
        seen.set()

    def callback(progress):
        waiting.set()
        if seen.is_set():
            raise StopIteration

    thread = threading.Thread(target=other)
    thread.start()
    with pytest.raises(StopIteration):
        # The switch between threads that run Python is far, so the other one runs while the lock is free.
        interval = sys.getswitchinterval()
        sys.setswitchinterval(PATIENCE)
        try:
            small.set_params(epochs=100_000, callback=callback).fit(images, labels)
        finally:
            sys.setswitchinterval(interval)
    thread.join()


def test_trainings_at_the_same_time_do_not_mix(digits, small):
    from sklearn.base import clone

    images, labels = digits
    alone = [clone(small).set_params(random_state=seed).fit(images, labels).model_.weights() for seed in range(3)]
    together = [clone(small).set_params(random_state=seed) for seed in range(3)]
    threads = [threading.Thread(target=estimator.fit, args=digits) for estimator in together]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [estimator.model_.weights() for estimator in together] == alone


def test_the_callback_sees_every_step(digits, small):
    images, labels = digits
    seen = []
    small.set_params(callback=seen.append).fit(images, labels)
    last = seen[-1]
    assert len(seen) == last.epochs * last.steps and last.epochs == 4
    assert [(step.epoch, step.step) for step in seen] == [
        (epoch, step) for epoch in range(1, 5) for step in range(1, last.steps + 1)
    ]
    assert all((step.accuracy is not None) == (step.step == step.steps) for step in seen)
    assert all(np.isfinite(step.loss) for step in seen)
    assert last.accuracy > 0.5


def test_verbose_prints_a_line_for_each_epoch(digits, small, capsys):
    """Lines that rewrite themselves would fill a notebook that is saved, and a log."""
    small.set_params(verbose=1).fit(*digits)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("epoch")] == ["1/4", "2/4", "3/4", "4/4"]
    assert "held out" in lines[-1]
    small.set_params(verbose=0).fit(*digits)
    assert capsys.readouterr() == ("", "")


def test_an_exception_of_the_callback_ends_the_training(digits, small):
    def callback(progress):
        raise RuntimeError("enough")

    images, labels = digits
    small.fit(images, labels)
    with pytest.raises(RuntimeError, match="enough"):
        small.set_params(callback=callback).fit(images, labels)
    with pytest.raises(NotFittedError):
        small.predict(images)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize("moment", ["step", "epoch"])
def test_ctrl_c_ends_a_training_with_keyboard_interrupt(moment):
    """Ctrl-C in a notebook: a training that ignored it could only be killed with everything else in the notebook."""
    code = textwrap.dedent(f"""
        import sys
        from sklearn.datasets import load_digits
        from sklearn.exceptions import NotFittedError
        from noprop import NoPropClassifier

        X, y = load_digits(n_class=2, return_X_y=True)
        X, y = X[:60], y[:60]
        told = False
        def callback(progress):
            global told
            if not told and progress.epoch == {1 if moment == "step" else 2}:
                told = True
                print("training", flush=True)
        classifier = NoPropClassifier(epochs=100_000, network='mlp:32,1', callback=callback)
        try:
            classifier.fit(X, y)
        except KeyboardInterrupt:
            try:
                print("fitted", classifier.n_iter_ >= 1 and classifier.score(X, y) > 0.5)
            except (AttributeError, NotFittedError):
                print("not fitted", hasattr(classifier, "n_features_in_"))
            raise
    """)
    if moment == "step":
        # An epoch that is long, so that the signal comes within the first.
        code = code.replace("n_class=2, ", "").replace("X[:60], y[:60]", "X, y")
        code = code.replace("epochs=100_000", "epochs=100_000, batch_size=2, steps=200")
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "training\n", process.communicate(timeout=PATIENCE)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert out == ("not fitted False\n" if moment == "step" else "fitted True\n"), err
    assert err.rstrip().endswith("KeyboardInterrupt"), err
    assert process.returncode == -signal.SIGINT


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_ends_a_classification(fitted, digits):
    """In the main thread: a signal that is there before the call ends it after a few samples."""
    images, _ = digits
    many = np.tile(images, (20, 1, 1))
    timer = threading.Timer(0.0, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        timer.start()
        while True:
            fitted.predict_proba(many)
    timer.join()
    assert fitted.predict(images).shape == (300,)
