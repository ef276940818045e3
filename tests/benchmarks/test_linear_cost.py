from bench_setups import SMALL

from benchmarks.linear_cost import Line, fit, main


def test_a_line_through_points_on_a_line_explains_everything():
    line = fit([(1, 5.0), (2, 7.0), (4, 11.0)])
    assert [round(part, 9) for part in line] == list(Line(2.0, 3.0, 1.0))


def test_it_measures_depths_and_pairs_and_draws_both(tmp_path, capsys):
    arguments = [*SMALL, "--device", "cpu", "--sizes", "1", "2", "--most", "24", "--out", str(tmp_path)]
    assert main(arguments) == 0
    lines = (tmp_path / "linear.csv").read_text().splitlines()
    # six layers: full and local reach down to layer 0, global trains the top two
    found = [tuple(line.split(",")[:4]) for line in lines[1:]]
    assert '"full, local, mid, global",2,12,12' in lines[2]
    assert found[2:4] == [("global alone", "1", "2", "12"), ("global alone", "2", "4", "12")]
    assert [row[3] for row in found[4:]] == ["12", "24"]
    assert (tmp_path / "linear.svg").read_text().count("<circle") >= 6
    assert "R2" in capsys.readouterr().out
