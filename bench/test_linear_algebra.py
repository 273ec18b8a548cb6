"""The benchmark of small matrices proves its answers."""

import linear_algebra


def test_answers_of_small_matrices(capsys):
    linear_algebra.main(4, 6, 3)
    assert len(capsys.readouterr().out.splitlines()) >= 6
