"""Similarity, probes and patching on the page: figures by depth, and sentences that answer what was asked."""

from fake_studies import full_study

from stratalign.records import write_json
from stratalign.reporting import report
from stratalign.reporting.diagnosed.diagnoses import diagnosis_views
from stratalign.reporting.figures.depth_lines import DepthPanel, Point, depth_lines

PARTITION = {"local": [0], "global": [1]}


def near(value):
    return {"value": value, "standard_error": 0.01, "low": value - 0.1, "high": value + 0.1}


SIMILARITY = {
    "kind": "similarity",
    "subject": "mid",
    "partition": PARTITION,
    "pairs": 64,
    "clusters": 16,
    "layer_similarity": [[1.0, 0.4], [0.4, 1.0]],
    "layers": [{"layer": at, "entry_to_exit": near(0.5), "angle": near(0.2)} for at in range(2)],
    "boundaries": {
        "blocks": [[0, 0], [1, 1]],
        "agree": 0.75,
        "rows": [
            {
                "first_layer": 1,
                "low": 1,
                "high": 1,
                "even": 2,
                "shift": -1,
                "agree": 0.75,
                "seen": {"1": 0.75},
            }
        ],
    },
    "drift": [{"state": at, "similarity": near(0.9), "cosine": near(0.95)} for at in range(3)],
}
CURVE = [
    {
        "state": at,
        "layer": at - 1 if at else None,
        "accuracy": accuracy,
        "accuracy_low": accuracy - 0.1,
        "accuracy_high": accuracy + 0.1,
        "control": 0.5,
    }
    for at, accuracy in enumerate((0.6, 0.7, 0.9))
]
TASK = {
    "about": "whether it is <b>right",
    "curve": CURVE,
    "length_baseline": {"accuracy": 0.55},
    "peak": {"state": 2, "layer": 1, "low": 1, "high": 1, "decodable": True},
    "expected": {
        "block": "local",
        "distance": 1,
        "low": 1,
        "high": 1,
        "limit": 3,
        "verdict": "not misaligned",
    },
}
PROBES = {"kind": "probes", "subject": "base", "partition": PARTITION, "tasks": {"grammar": TASK}}
PATCHING = {
    "kind": "patching",
    "subject": "full",
    "partition": PARTITION,
    "pairs": 64,
    "margin": {"base": -1.0, "tuned": 2.0, "rise": 3.0, "low": 2.0, "high": 4.0, "tells": True},
    "layers": [
        {"layer": at, **{key: near(0.5) for key in ("denoising", "noising", "made", "lost")}}
        for at in range(2)
    ],
    "top": {"denoising": near(1.0), "noising": near(0.0)},
    "windows": [{"layers": [0, 1], "alone": near(1.0), "without": near(1.0)}],
    "blocks": {name: {"alone": near(0.4), "without": near(0.6)} for name in PARTITION},
}


def test_all_three_have_figures_and_are_inert(tmp_path):
    folder = full_study(tmp_path)
    for record in (SIMILARITY, PROBES, PATCHING):
        write_json(folder / "diagnostics" / f"{record['kind']}.json", record)
    page = report([folder]).read_text()
    assert "How alike the layers&#39; states are: mid" in page
    assert "whether it is &lt;b&gt;right" in page
    assert "whether it is <b>right" not in page
    names = ("similarity", "similarity-layers", "probes", "patching", "patching-layers", "patching-windows")
    assert all((folder / "figures" / f"{name}.svg").is_file() for name in names)


def test_what_is_said():
    similarity, probes, patching = diagnosis_views(
        {"similarity@mid": SIMILARITY, "probes": PROBES, "patching@full": PATCHING}
    )
    assert similarity.words == (
        "64 training pairs of 16 clusters suggest the blocks 0 and 1; 75.0 % of halves of the clusters suggest the "
        "same.",
        "A block begins at layer 1 (95 % of halves: 1 to 1; 75.0 % the same), 1 earlier; equal blocks: 2.",
    )
    assert probes.words == (
        "grammar: best read after layer 1 (95 %: 1 to 1), accuracy 0.90 where the control has 0.50 and length alone "
        "0.55. Expected in local, 1 layers away [1, 1]. Misaligned by more than 3 layers? No.",
    )
    assert patching.words[0] == "The margin of 64 training pairs rises by 3.00 nats [2.00, 4.00]."
    assert patching.words[1] == (
        "The updates of local alone make 0.40 [0.30, 0.50] of it; 0.60 [0.50, 0.70] is lost without."
    )


def test_what_cannot_be_told_is_said_so():
    unsure = TASK | {
        "peak": TASK["peak"] | {"decodable": False},
        "expected": TASK["expected"] | {"verdict": "cannot tell"},
    }
    (one,) = diagnosis_views({"probes": PROBES | {"tasks": {"grammar": unsure}}})
    assert "That is not told from the control." in one.words[0]
    assert one.words[0].endswith("more than 3 layers? Cannot tell.")
    weak = PATCHING | {"margin": PATCHING["margin"] | {"tells": False}}
    (one,) = diagnosis_views({"patching": weak})
    assert one.words[0].endswith("cannot be told from nothing: shares of it say nothing.")


def test_lines_by_depth_are_where_their_numbers_are():
    """Two places between 58 and the right end; the axis from 0 to 1 is 170 high."""
    panel = DepthPanel("t", {"x": [Point(0.0), Point(1.0, 0.5, 9.0)]}, {}, (0.0, 1.0))
    drawing = depth_lines(["0", "1"], {"local": 0, "late": 1}, [panel], "Told.")
    assert drawing is not None
    assert drawing.title == "Told. t: x 0.00, 1.00."
    assert 'cy="218"' in drawing.body  # top 48 and 170 below it
    assert 'cy="48"' in drawing.body
    assert 'y1="133"' in drawing.body  # 0.5 of the whisker, whose other end is cut off at the frame
    assert drawing.body.count("f-edge f-d2") == 1  # the first block needs no line
    assert depth_lines([], {}, [], "") is None
