"""How often base against base is called a difference: 200 comparisons at the demo's size (slow).

Answers of the base to the demo's held-out prompts are sampled under many seeds; every comparison holds two of these
samples against each other, as `base_again` is held against `base`. Both tests are made at 5 %.
"""

import random
from itertools import combinations

import numpy as np
import pytest
import torch

from stratalign import stats
from stratalign.generation import GenerationSettings, Prompt, answer, batches
from stratalign.microworld import BASE, Scores, people, read_request, verify
from stratalign.models import ModelSettings, load_model, load_tokenizer
from stratalign.preferences import PreferenceSettings, load, split

SAMPLES, COMPARISONS = 48, 200


@pytest.mark.slow
def test_base_against_base_is_called_different_about_one_time_in_twenty(capsys):
    preferences = PreferenceSettings(source="microworld:fluency", held_out=192)
    rows = split(load(preferences).rows, preferences).held_out
    known = people()
    settings = ModelSettings(base=str(BASE))
    loaded = load_model(settings, dtype=torch.float32, device=torch.device("cpu"))
    tokenizer = load_tokenizer(settings)
    prompts = [
        Prompt(row.row_id, row.cluster, row.prompt, tuple(tokenizer(row.prompt)["input_ids"])) for row in rows
    ]
    place = {prompt.prompt_id: i for i, prompt in enumerate(prompts)}
    generation = GenerationSettings(max_new_tokens=160, temperature=1.0)
    scores = np.full((SAMPLES, len(prompts), len(Scores._fields)), np.nan)
    for sample in range(SAMPLES):
        for group in batches(prompts, 256):
            found = answer(loaded.model, tokenizer, group, generation, key=("null", sample))
            for prompt, own in zip(group, found, strict=True):
                request = read_request(prompt.text, known)
                scores[sample, place[prompt.prompt_id]] = verify(request, own.text, known)
    pairs = random.Random(0).sample(list(combinations(range(SAMPLES), 2)), COMPARISONS)
    clusters = [prompt.cluster for prompt in prompts]
    by_interval, by_flips = np.zeros(8), np.zeros(8)
    for one, other in pairs:
        for i, found in enumerate(
            stats.compare_dimensions(scores[one], scores[other], clusters, resamples=2000)
        ):
            by_interval[i] += stats.verdict(found) != "cannot tell"
            by_flips[i] += found.p_value <= 0.05
    with capsys.disabled():
        print(
            f"\n{len(prompts)} prompts, {len(set(clusters))} clusters, {COMPARISONS} comparisons of {SAMPLES} samples"
        )
        for name, interval, flips in zip(Scores._fields, by_interval, by_flips, strict=True):
            print(f"{name:<15} interval {interval / COMPARISONS:.3f}  sign flips {flips / COMPARISONS:.3f}")
    for rejected in (by_interval, by_flips):
        # Over all tests 3 to 7 %; a single dimension's 200 comparisons have a standard error of 1.5 %.
        assert 0.03 <= rejected.mean() / COMPARISONS <= 0.07
        assert rejected.max() / COMPARISONS <= 0.05 + 4 * 0.0155
