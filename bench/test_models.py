"""The benchmark of several networks proves its answers."""

import models


def test_answers_of_several_networks(capsys):
    models.main(3, 8)
    assert len(capsys.readouterr().out.splitlines()) == 5
