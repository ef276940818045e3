"""Weights, updates and stages on the page: figures that say what the record says, and sentences."""

from fake_studies import full_study

from stratalign.records import write_json
from stratalign.reporting import report
from stratalign.reporting.diagnosed.diagnoses import diagnosis_views

PARTITION = {"local": [0], "global": [1]}
WEIGHTS = {
    "kind": "weights",
    "subject": "base",
    "partition": PARTITION,
    "modules": [
        {"module": "layers.0.q", "snr": 0.5, "rank": 2},
        {"module": "layers.1.q", "snr": 0.75, "rank": 1},
        {"module": "layers.0.v", "snr": None, "rank": None},
    ],
    "heatmap": {"layers": [0, 1], "kinds": ["q", "v"], "values": [[0.5, None], [0.75, 0.0]]},
    "blocks": {
        "local": {"snr_in_kind": 0.25, "spectrum_in_kind": 0.6},
        "global": {"snr_in_kind": 0.75, "spectrum_in_kind": None},
    },
    "agreement": {"snr_and_spectrum": 0.1, "spectrum_and_small_norm": 0.8},
    "missing": {"layers.0.v": "zero"},
}
ALL = {"relative": 0.05, "effective_rank": 3.24}
RUN = {
    "all": ALL,
    "blocks": {"local": {"share": 1.0, "modules": 1}, "global": {"share": 0.0, "modules": 0}},
    "layers": [{"layer": 0, "relative": 0.05}],
    "heatmap": {"layers": [0], "kinds": ["q"], "values": [[0.05]]},
}
DELTAS = {"kind": "deltas", "subject": "mid", "partition": PARTITION, "runs": {"mid": RUN}}
OTHER = RUN | {"layers": [{"layer": 1, "relative": 0.02}]}


def described(stage, value, changes=()):
    share = {"value": value, "low": None if value is None else value - 0.1, "high": 1.2}
    by_name = {"local": {"share": share}, "global": {"share": share | {"value": 0.25}}}
    return {"stage": stage, "blocks": {"by_name": by_name}, "changes": dict(changes)}


MOVED = {
    "local": {"ratio": 2.0, "low": 1.5, "high": 2.5, "reading": "above"},
    "global": {"ratio": 0.5, "low": None, "high": None, "reading": "cannot tell"},
}
STAGES = {
    "kind": "gradients",
    "subject": "base and 1 stages",
    "source": "<i>rows",
    "partition": PARTITION,
    "pairs": 64,
    "clusters": 16,
    "stages": [{"name": "base", "share": 0.0}, {"name": "100-percent", "share": 1.0}],
    "losses": {"sigmoid": [described("base", 0.3), described("100-percent", 0.6, MOVED)]},
}


def test_the_page_shows_all_three_and_nothing_of_them_is_markup(tmp_path):
    folder = full_study(tmp_path)
    for name, record in {"weights": WEIGHTS, "deltas@mid": DELTAS, "gradients@stages": STAGES}.items():
        write_json(folder / "diagnostics" / f"{name}.json", record)
    page = report([folder]).read_text()
    assert "Which weights stand out of noise: base" in page
    assert "How large the updates are: mid" in page
    assert "Where the gradients lie before, during and after training" in page
    assert "<i>rows" not in page
    for name in ("weights", "deltas@mid", "gradients@stages"):
        assert (folder / "figures" / f"{name}.svg").is_file()


def test_what_is_said_of_weights():
    (one,) = diagnosis_views({"weights": WEIGHTS})
    assert one.words == (
        "Furthest out of noise: layers.1.q (0.75) and layers.0.q (0.50).",
        "Mean place among modules of the same kind, from 0 to 1 (chance 0.5): local 0.25, global 0.75; by Spectrum's "
        "own ratio: local 0.60, global –.",
        "Rank correlation of the two ratios within kinds: 0.10; of Spectrum's and a small spectral norm: 0.80.",
        "Without a ratio, and never chosen: 1 weights.",
    )
    body = one.pictures[0].drawing.body
    assert "q, global 1: 0.750 among q" in body
    assert body.count("<rect") == 3  # v of layer 0 has none


def test_what_is_said_of_updates_of_one_run_and_of_several():
    (one,) = diagnosis_views({"deltas@mid": DELTAS})
    assert one.words == (
        "mid: 5.0 % of its weights' norm, effective rank 3.2 on average; of the squared norm local 1.00.",
    )
    assert "q, local 0: 5.000 %" in one.pictures[0].drawing.body
    (both,) = diagnosis_views({"deltas": DELTAS | {"runs": {"mid": RUN, "full": OTHER}}})
    assert len(both.words) == 2
    body = both.pictures[0].drawing.body
    assert "mid, local 0: 5.000 %" in body
    assert "full, global 1: 2.000 %" in body
    assert body.count("<rect") == 2  # neither trained the other's layer


def test_what_is_said_of_stages_and_a_stage_without_a_share_has_no_point():
    (one,) = diagnosis_views({"gradients@stages": STAGES})
    assert one.words == (
        "sigmoid, share after training over share before: that of local grew (2.00 times [1.50, 2.50]), that of "
        "global may not have moved (0.50 times [–, –]).",
    )
    drawing = one.pictures[0].drawing
    assert "sigmoid: share of squared norm: local 0.30, 0.60; global 0.25, 0.25." in drawing.title
    assert drawing.body.count("<circle") == 4
    assert ">before<" in drawing.body
    assert ">100 %<" in drawing.body
    gap = STAGES | {"losses": {"sigmoid": [described("base", None), described("100-percent", 0.6)]}}
    (one,) = diagnosis_views({"gradients@stages": gap})
    assert one.pictures[0].drawing.body.count("<circle") == 3
    nothing = {
        "sigmoid": [
            {
                "stage": "base",
                "blocks": {
                    "by_name": {b: {"share": {"value": None, "low": None, "high": None}} for b in PARTITION}
                },
                "changes": {},
            }
        ]
    }
    (one,) = diagnosis_views({"gradients@stages": STAGES | {"losses": nothing}})
    assert one.pictures == ()
