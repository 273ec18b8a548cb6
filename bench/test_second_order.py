"""The benchmark of second derivatives proves its answers."""

import second_order


def test_answers_of_second_derivatives(capsys):
    second_order.main(4)
    assert len(capsys.readouterr().out.splitlines()) in (3, 6)
