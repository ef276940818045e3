"""Losses by hand, at their limits, and against TRL's own code on the same log-probabilities."""

import math
from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from stratalign.losses import LOSSES, Objective, preference_loss, swap_labels

# log-ratios: chosen -3 - (-5) = 2, rejected -7 - (-4) = -3; margin 5; 4 and 6 tokens, so 0.5, -0.5 and 1 per token
POLICY, REFERENCE, TOKENS = torch.tensor([[-3.0, -7.0]]), torch.tensor([[-5.0, -4.0]]), torch.tensor([[4, 6]])
PAIR_LOSSES = [name for name, loss in LOSSES.items() if loss.needs_pairs]
SMOOTHED = [name for name, loss in LOSSES.items() if "label_smoothing" in loss.reads]


def minus_log_sigmoid(x):
    return math.log(1 + math.exp(-x))


def logistic(x):
    return 1 / (1 + math.exp(-x))


def drawn(pairs=5, seed=0):
    """Log-probabilities and token counts as a training might have them; the counts differ within a pair."""
    draw = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, 40, (pairs, 2), generator=draw)
    reference = -tokens * (1 + torch.rand(pairs, 2, generator=draw, dtype=torch.float64))
    policy = reference + torch.randn(pairs, 2, generator=draw, dtype=torch.float64) * 4
    return policy, reference, tokens


@pytest.mark.parametrize(
    ("objective", "by_hand"),
    [
        (Objective(), minus_log_sigmoid(0.5)),
        (Objective(label_smoothing=0.2), 0.8 * minus_log_sigmoid(0.5) + 0.2 * minus_log_sigmoid(-0.5)),
        (
            Objective("robust", label_smoothing=0.2),
            (0.8 * minus_log_sigmoid(0.5) - 0.2 * minus_log_sigmoid(-0.5)) / 0.6,
        ),
        (Objective("ipo"), (1 - 5) ** 2),  # 1 / (2 x 0.1) = 5
        (Objective("hinge"), 0.5),
        (Objective("hinge", beta=0.3), 0.0),  # 1 - 1.5 is below 0
        (Objective("apo_zero"), 1 - logistic(0.2) + logistic(-0.3)),
        (Objective("apo_down"), logistic(0.2) + 1 - logistic(0.5)),
        (Objective("sigmoid_norm", beta=2), minus_log_sigmoid(2)),
        # per token: chosen -3/4, rejected -7/6, difference 5/12
        (Objective("simpo", beta=2, simpo_gamma=0.3), minus_log_sigmoid(2 * 5 / 12 - 0.3)),
        (Objective("sft"), 3 / 4),
        (Objective("sigmoid", nll=0.2), minus_log_sigmoid(0.5) + 0.2 * 3 / 4),
        (Objective("ipo", nll=2), 16 + 2 * 3 / 4),
    ],
    ids=str,
)  # fmt: skip
def test_the_value_by_hand(objective, by_hand):
    found = preference_loss(POLICY, REFERENCE, TOKENS, objective).loss
    assert found.shape == (1,)
    assert found.item() == pytest.approx(by_hand, abs=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_rewards_are_beta_times_the_log_ratio_and_simpo_has_no_reference(loss):
    found = preference_loss(POLICY.clone().requires_grad_(), REFERENCE, TOKENS, Objective(loss))
    # SimPO: 0.1 x -3/4 and 0.1 x -7/6
    expected = (-0.075, -0.7 / 6) if loss == "simpo" else (0.2, -0.3)
    assert (found.reward_chosen.item(), found.reward_rejected.item()) == pytest.approx(expected)
    assert not found.reward_chosen.requires_grad
    assert found.loss.requires_grad


@pytest.mark.parametrize("loss", PAIR_LOSSES)
def test_every_preference_loss_falls_when_rejected_becomes_less_likely(loss):
    worse = POLICY - torch.tensor([[0.0, 1.0]])
    values = [
        preference_loss(policy, REFERENCE, TOKENS, Objective(loss)).loss.item() for policy in (POLICY, worse)
    ]
    assert values[1] < values[0]


@pytest.mark.parametrize("loss", ["robust", "sigmoid"])
def test_without_label_smoothing_it_is_dpo(loss):
    ours = preference_loss(*drawn(), Objective(loss)).loss
    policy, reference, _ = drawn()
    margins = (policy - reference) @ torch.tensor([1.0, -1.0], dtype=torch.float64)
    assert torch.equal(ours, -torch.nn.functional.logsigmoid(0.1 * margins))


def test_robust_is_right_on_average_over_exchanged_labels():
    """Its point: with labels exchanged in a share e of cases, its mean is DPO's loss on the right labels."""
    policy, reference, tokens = drawn()
    every = torch.ones(len(policy), dtype=torch.bool)
    objective = Objective("robust", label_smoothing=0.3)
    right = preference_loss(policy, reference, tokens, objective).loss
    exchanged = preference_loss(
        swap_labels(policy, every), swap_labels(reference, every), swap_labels(tokens, every), objective
    ).loss
    dpo = preference_loss(policy, reference, tokens, Objective()).loss
    torch.testing.assert_close(0.7 * right + 0.3 * exchanged, dpo)


def test_ipo_rests_where_the_margin_per_token_is_one_over_two_beta():
    policy = torch.tensor(
        [[4 * 5.0 - 5.0, -4.0]]
    )  # log-ratio 20 over 4 tokens is 5 = 1 / (2 x 0.1); rejected 0
    assert preference_loss(policy, REFERENCE, TOKENS, Objective("ipo")).loss.item() == pytest.approx(
        0, abs=1e-10
    )


def test_simpo_and_sft_do_not_see_the_reference_and_the_others_do():
    blind = {
        loss
        for loss in LOSSES
        if torch.equal(
            preference_loss(POLICY, REFERENCE, TOKENS, Objective(loss)).loss,
            preference_loss(POLICY, REFERENCE + torch.tensor([[1.0, 2.0]]), TOKENS, Objective(loss)).loss,
        )
    }
    assert blind == {"simpo", "sft"}


@pytest.mark.parametrize("loss", PAIR_LOSSES)
@pytest.mark.parametrize("log_ratio", [0.0, 1e4, -1e4])
def test_gradients_are_finite_at_the_start_and_far_away(loss, log_ratio):
    policy = (REFERENCE + torch.tensor([[log_ratio, -log_ratio]])).requires_grad_()
    smoothing = 0.1 if loss in SMOOTHED else 0.0
    objective = Objective(loss, label_smoothing=smoothing, nll=0.5)
    found = preference_loss(policy, REFERENCE, TOKENS, objective)
    found.loss.sum().backward()
    assert found.loss.isfinite().all()
    assert policy.grad.isfinite().all()
    assert policy.grad.abs().sum() > 0


def test_the_gradient_of_dpo_raises_chosen_and_lowers_rejected_by_the_same_amount():
    policy = REFERENCE.clone().requires_grad_()
    preference_loss(policy, REFERENCE, TOKENS, Objective()).loss.sum().backward()
    # d/dm of -log sigmoid(beta m) at m = 0 is -beta / 2
    assert policy.grad.tolist() == [[pytest.approx(-0.05), pytest.approx(0.05)]]


def test_demonstrations_have_one_response_and_nothing_rejected():
    policy = POLICY[:, :1].clone().requires_grad_()
    found = preference_loss(policy, REFERENCE[:, :1], TOKENS[:, :1], Objective("sft"))
    found.loss.sum().backward()
    assert found.loss.item() == pytest.approx(3 / 4)
    assert policy.grad.tolist() == [[pytest.approx(-1 / 4)]]
    assert found.reward_rejected is None


@pytest.mark.parametrize("loss", LOSSES)
def test_swapped_labels_give_the_loss_of_the_exchanged_pairs_lengths_and_all(loss):
    swapped = torch.tensor([True, False, False, True, True])
    by_hand = [
        torch.stack([row[[1, 0]] if swap else row for row, swap in zip(part, swapped, strict=True)])
        for part in drawn()
    ]
    objective = Objective(loss, nll=0.0 if loss == "sft" else 0.5)
    found = preference_loss(*(swap_labels(part, swapped) for part in drawn()), objective)
    assert torch.equal(found.loss, preference_loss(*by_hand, objective).loss)
    kept = preference_loss(*drawn(), objective).loss
    assert (found.loss != kept).tolist() == swapped.tolist()


def test_swapped_labels_exchange_only_the_marked_pairs():
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert swap_labels(values, torch.tensor([True, False])).tolist() == [[2.0, 1.0], [3.0, 4.0]]


class Accelerator:
    device = torch.device("cpu")

    def gather(self, value):
        return value

    gather_for_metrics = gather


def trl_loss(policy, reference, tokens, objective):
    """What TRL's DPOTrainer computes of one batch: its own method, given a model that answers with `policy`."""
    from trl import DPOTrainer

    sides = [*zip(policy[:, 0], tokens[:, 0], strict=True), *zip(policy[:, 1], tokens[:, 1], strict=True)]
    width = 1 + int(tokens.max())
    mask = torch.zeros(len(sides), width, dtype=torch.int64)
    per_token = torch.zeros(len(sides), width - 1, dtype=torch.float64)
    for row, (total, count) in enumerate(sides):
        mask[row, 1 : 1 + count] = 1  # one token of prompt
        per_token[row, :count] = total / count
    nothing = torch.zeros_like(per_token)
    outputs = SimpleNamespace(
        log_probs=per_token, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool()
    )

    class Model:
        training = True

        def __call__(self, **_):
            return outputs

    weights = [(objective.loss, 1.0), *([("sft", objective.nll)] if objective.nll else [])]
    trainer = SimpleNamespace(
        model=Model(),
        accelerator=Accelerator(),
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        use_weighting=False,
        loss_types=[name for name, _ in weights],
        loss_weights=[weight for _, weight in weights],
        beta=objective.beta,
        label_smoothing=objective.label_smoothing,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    inputs = {
        "input_ids": torch.zeros_like(mask),
        "attention_mask": mask,
        "completion_mask": mask,
        "ref_chosen_logps": reference[:, 0],
        "ref_rejected_logps": reference[:, 1],
    }
    loss = DPOTrainer._compute_loss(trainer, trainer.model, inputs, return_outputs=False)
    rewards = [trainer._metrics["train"][f"rewards/{side}"][0] for side in ("chosen", "rejected")]
    return loss.item(), rewards


TRL_HAS = [
    Objective("sigmoid"),
    Objective("robust", label_smoothing=0.2),
    Objective("ipo", beta=0.3),
    Objective("hinge", beta=0.05),
    Objective("apo_zero"),
    Objective("apo_down"),
    Objective("sigmoid_norm", beta=2.0),
]


@pytest.mark.peer
@pytest.mark.parametrize("objective", TRL_HAS, ids=lambda objective: objective.loss)
def test_the_mean_over_pairs_is_what_trl_computes(objective):
    given = drawn(9)
    ours = preference_loss(*given, objective)
    theirs, rewards = trl_loss(*given, objective)
    assert ours.loss.mean().item() == pytest.approx(theirs, rel=1e-9)
    assert [ours.reward_chosen.mean().item(), ours.reward_rejected.mean().item()] == pytest.approx(rewards)


@pytest.mark.peer
@pytest.mark.parametrize(
    "objective", [Objective("sft"), Objective("sigmoid", nll=0.3), Objective("ipo", nll=2)]
)
def test_likelihood_per_token_is_what_trl_computes_of_one_pair(objective):
    for seed in range(3):
        given = drawn(1, seed)
        assert preference_loss(*given, objective).loss.item() == pytest.approx(
            trl_loss(*given, objective)[0], rel=1e-9
        )


@pytest.mark.peer
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_simpo_and_conservative_dpo_are_those_of_trl_for_cpo(smoothing, monkeypatch):
    """CPO's trainer takes what the loss compares: means over tokens for simpo; here log-ratios for sigmoid."""
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    from trl.experimental.cpo import CPOTrainer

    def theirs(loss, chosen, rejected):
        trainer = SimpleNamespace(
            alpha=0.0, accelerator=Accelerator(), loss_type=loss, beta=2.0, simpo_gamma=0.7,
            label_smoothing=smoothing,
        )  # fmt: skip
        return CPOTrainer.cpo_loss(trainer, chosen, rejected)

    policy, reference, tokens = drawn()
    ours = preference_loss(
        policy, reference, tokens, Objective("sigmoid", beta=2.0, label_smoothing=smoothing)
    )
    torch.testing.assert_close(theirs("sigmoid", *(policy - reference).unbind(1))[0], ours.loss)
    if not smoothing:
        ours = preference_loss(policy, reference, tokens, Objective("simpo", beta=2.0, simpo_gamma=0.7))
        losses, chosen, rejected = theirs("simpo", *(policy / tokens).unbind(1))
        torch.testing.assert_close(losses, ours.loss)
        torch.testing.assert_close(chosen, ours.reward_chosen)
        torch.testing.assert_close(rejected, ours.reward_rejected)
