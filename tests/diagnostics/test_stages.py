"""Gradients over stages: the same as of each stage alone, while what does not depend on the stage is shared."""

import pytest

from models.whole_models import set_up
from stratalign.diagnostics import GradientSettings, measure_gradients, measure_stages
from stratalign.engine import JointEngine
from stratalign.losses import Objective
from stratalign.models import AdapterSpec
from training.joint_setups import make_trees

BLOCKS = {"low": range(2), "high": range(2, 4)}
SETTINGS = GradientSettings(pairs=12, chunks=4)


def test_every_stage_is_what_its_own_record_would_say_and_the_base_is_passed_once(monkeypatch):
    _, sites, engine = set_up("llama")
    engine.bank.attach(AdapterSpec("end", tuple(site.name for site in sites), 2, 4))
    for p in engine.bank.parameters("end").values():
        p.data.normal_(std=0.2)
    engine = JointEngine(engine.anatomy, engine.bank, {"r": 0, "end": 0})
    trees, stages = make_trees(12), {"r": 0.0, "end": 1.0}
    known, base = [], engine.base
    monkeypatch.setattr(
        engine, "base", lambda batch, reference=None: known.append(reference) or base(batch, reference)
    )
    found = measure_stages(engine, stages, sites, BLOCKS, trees, Objective(), SETTINGS, seed=0)
    # no pass went on to the base's log-probabilities: its own stage told them to the next
    assert len(known) == 8
    assert all(reference is not None for reference in known)
    assert found["stages"] == [{"name": name, "share": share} for name, share in stages.items()]
    assert (found["pairs"], found["chunks"]) == (12, 4)
    for at, stage in enumerate(stages):
        alone = measure_gradients(engine, stage, sites, BLOCKS, {"s": trees}, Objective(), SETTINGS, seed=0)[
            "sources"
        ]["s"]
        for loss in ("sigmoid", "sft"):
            own, expected = found["losses"][loss][at], alone["losses"][loss]
            assert own["stage"] == stage
            assert own["all"]["pair_norm"] == pytest.approx(expected["all"]["pair_norm"], rel=1e-6)
            assert _shares(own) == pytest.approx(_shares(expected), rel=1e-6, nan_ok=True)
        relative = {row["module"]: row["relative"] for row in alone["losses"]["sigmoid"]["modules"]}
        assert found["scores"][stage] == pytest.approx(relative, rel=1e-6)
    first, last = found["losses"]["sft"]
    assert first["changes"] == {}
    for block, change in last["changes"].items():
        before, after = (own["blocks"]["by_name"][block]["share"]["value"] for own in (first, last))
        assert change["ratio"] == pytest.approx(after / before, rel=1e-9)
        assert change["low"] <= change["ratio"] <= change["high"]


def _shares(described):
    rows = described["blocks"]["by_name"].values()
    return [row["share"][key] for row in rows for key in ("value", "low", "high")]
