"""The benchmark of second derivatives proves its answers."""

import second_order


def test_answers_of_second_derivatives(capsys):
    second_order.main(4)
    said = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("fastprop ") for line in said) >= 5
    assert sum(line.startswith(("Hessian", "Jacobian")) for line in said) >= 6
