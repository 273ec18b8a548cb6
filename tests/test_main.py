"""The command line: python -m fastprop."""

import os
import signal
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from fastprop import __version__
from fastprop.__main__ import main
from fastprop.training import job

TINY = ["train", "--hidden", "2", "--epochs", "1", "--batch", "400", "--no-reference"]


def fastprop(*arguments, **options):
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "fastprop", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)


def test_without_a_command_it_helps(capsys):
    assert main([]) == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: python -m fastprop")
    assert "train" in text
    assert "config" in text


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["config", "--help"]], ids=" ".join)
def test_help(capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: python -m fastprop")


def test_help_names_every_option_and_its_default(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for option, default in [
        ("--hidden N [N ...]", "(default)"),
        ("--activation", "(default: relu)"),
        ("--model {mlp,cnn,softmax,svm}", "(default: mlp)"),
        ("--optimizer {momentum,nesterov,sgd,", "(default: momentum)"),
        ("--epochs N", "(default: 15)"),
        ("--batch N", "(default: 32)"),
        ("--rate X", "(default: one for each optimizer)"),
        ("--momentum X", "(default: 0.9)"),
        ("--decay X", "(default: 0.0005)"),
        ("--shift X", "(default: 0.1)"),
        ("--seed N", "(default: 0)"),
        ("--repeat N", "(default: 1)"),
        ("--curve FILE", ".svg"),
        ("--quiet", ""),
        ("--no-reference", ""),
        ("Ctrl-C", "exit code 130"),
    ]:
        assert option in text
        assert default in text


@pytest.mark.parametrize(
    ("arguments", "given", "expected"),
    [
        (["--epochs", "0"], "'0'", "a whole number from 1 to 10000"),
        (["--epochs", "3.5"], "'3.5'", "a whole number from 1 to 10000"),
        (["--batch", "5000"], "'5000'", "a whole number from 1 to 1197"),
        (["--hidden", "16", "-3"], "'-3'", "a whole number from 1 to 1000"),
        (["--hidden"], "--hidden", "at least one argument"),
        (["--rate", "0"], "'0'", "a number above 0, up to 1e+06"),
        (["--rate", "fast"], "'fast'", "a number above 0, up to 1e+06"),
        (["--rate", "nan"], "'nan'", "a number above 0, up to 1e+06"),
        (["--momentum", "1"], "'1'", "a number from 0 to 0.999"),
        (["--seed", "-1"], "'-1'", "a whole number from 0 to 4294967295"),
        (["--repeat", "many"], "'many'", "a whole number from 1 to 1000"),
        (["--activation", "step"], "'step'", "tanh"),
        (["--model", "forest"], "'forest'", "softmax"),
        (["--optimizer", "newton"], "'newton'", "momentum"),
        (["--decay", "-1"], "'-1'", "a number from 0 to 1e+06"),
        (["--shift", "2"], "'2'", "a number from 0 to 1"),
        (["--curve", "curve.png"], "'curve.png'", "a file whose name ends in .svg"),
        (["--curve", "nowhere/curve.svg"], "'nowhere'", "make it first"),
        (["--epoch-count", "3"], "--epoch-count", "unrecognized arguments"),
        (["--model", "softmax", "--hidden", "64"], "--hidden goes with --model mlp or cnn", "leave out one of them"),
        (["--hidden", "5", "--model", "svm"], "--hidden goes with --model mlp or cnn", "svm has no hidden neurons"),
        (["--activation", "relu", "--model", "svm"], "--activation goes with", "svm has no hidden neurons"),
        (["--optimizer", "adam", "--momentum", "0.9"], "momentum or nesterov, and adam", "leave out one of them"),
        (["--optimizer", "sgd", "--momentum", "0"], "momentum or nesterov, and sgd", "sgd has no momentum"),
        (["--optimizer", "nesterov", "--momentum", "0"], "--optimizer nesterov", "needs a --momentum above 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options(capsys, arguments, given, expected):
    with pytest.raises(SystemExit) as ended:
        main(["train", *arguments])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert given in error
    assert expected in error


def test_help_shows_examples_that_can_be_run(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    examples = [line.split("  ")[0].split()[3:] for line in lines if line.startswith("python -m fastprop train")]
    assert len(examples) >= 4
    for arguments in examples:
        assert main([*arguments, "--epochs", "1", "--batch", "600", "--repeat", "1", "--no-reference", "--quiet"]) == 0


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"fastprop {__version__}\n"


def test_bad_command(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["trian"])
    assert ended.value.code == 2
    assert "'trian'" in capsys.readouterr().err


def test_config():
    done = fastprop("config")
    assert done.returncode == 0
    assert "fastprop" in done.stdout
    assert done.stderr == ""


def test_train():
    done = fastprop(*TINY)
    assert done.returncode == 0
    assert "test accuracy" in done.stdout
    assert "time per gate" in done.stdout
    assert done.stderr == ""  # no terminal, no progress bar
    assert "\r" not in done.stdout


def test_train_prints_the_same_for_the_same_seed():
    def scores(text):
        return [line.split()[:5] for line in text.splitlines() if line[:5].strip().isdigit()]

    first, second, other = (fastprop(*TINY, "--seed", seed).stdout for seed in "112")
    assert scores(first) == scores(second) != scores(other)
    assert len(scores(first)) == 1


def test_the_training_curve_is_saved(tmp_path, capsys):
    path = tmp_path / "curve.svg"
    assert main([*TINY, "--quiet", "--curve", str(path)]) == 0
    told = capsys.readouterr().out
    assert f"training curve: {path}\n" in told
    texts = [text.text for text in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")]
    assert {"seed 0", "loss", "accuracy", "training", "validation"} <= set(texts)
    assert main([*TINY, "--quiet", "--repeat", "2", "--curve", str(path)]) == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["curve-0.svg", "curve-1.svg", "curve.svg"]
    assert main([*TINY, "--quiet"]) == 0
    capsys.readouterr()
    assert len(list(tmp_path.iterdir())) == 3


def test_a_curve_that_can_not_be_saved(tmp_path, capsys, monkeypatch):
    def full(self, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fastprop.draw.Picture.save", full)
    assert main([*TINY, "--quiet", "--curve", str(tmp_path / "curve.svg")]) == 1
    told = capsys.readouterr()
    assert "test accuracy" in told.out  # which is there all the same
    assert told.err == (
        "python -m fastprop train: the training curve can't be saved: [Errno 28] No space left on device\n"
    )


def test_train_that_overflows(capsys, monkeypatch):
    def overflow(*arguments, **options):
        raise OverflowError("the training loss became nan in epoch 2 at rate 50; try a smaller rate")

    monkeypatch.setattr(job, "fit", overflow)
    assert main([*TINY, "--quiet"]) == 1
    expected = "python -m fastprop train: the training loss became nan in epoch 2 at rate 50; try a smaller rate\n"
    assert capsys.readouterr() == ("", expected)


def test_ctrl_c_ends_it_with_the_results_so_far():
    command = [sys.executable, "-m", "fastprop", "train", "--epochs", "10000", "--hidden", "2", "--batch", "400"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        seen = []
        for line in process.stdout:
            seen.append(line)
            if line[:5].strip() == "2":
                break
        process.send_signal(signal.SIGINT)
        rest, error = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "interrupted after " in rest
    assert "seed 0: test accuracy " in rest
    assert "with the parameters of epoch " in rest
    assert error == ""


def test_ctrl_c_outside_of_the_training(capsys, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(job, "digits", interrupted)
    assert main(TINY) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_reader_that_goes_away():
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [sys.executable, "-m", "fastprop", *TINY]
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=300)
    finally:
        os.close(writing)
    assert done.returncode == 1
    assert done.stderr == ""
