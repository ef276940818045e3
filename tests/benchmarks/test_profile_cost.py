import pytest
from bench_setups import SMALL

from benchmarks.profile_cost import Round, main, summed_up


def test_the_model_is_the_base_pass_and_full_s_own_work_by_depth():
    # full's own work is 5 - 1 = 4 s; conditions of 10.5 times its depth should take 1 + 42 = 43 s; 47.3 are 10 % more.
    rounds = [Round(5.0, 1.0, 47.3, 1.2), Round(4.0, 1.0, 40.0, 1.2), Round(6.0, 1.0, 60.0, 1.2)]
    cost = summed_up(rounds, 10.5)
    assert (cost.base, cost.full, cost.modelled, cost.measured) == (1.0, 5.0, 43.0, 47.3)
    assert cost.ratio == pytest.approx(1.1)


def test_it_times_a_profile_beside_full(tmp_path, capsys):
    arguments = [*SMALL, "--device", "cpu", "--random", "2", "--repeat", "1", "--out", str(tmp_path)]
    assert main(arguments) == 0
    # six layers and windows of three: four windows, of depths 6, 5, 4 and 3, and two draws
    assert capsys.readouterr().out.startswith("6 conditions on 6 layers")
    assert len((tmp_path / "profile-cost.csv").read_text().splitlines()) == 2
