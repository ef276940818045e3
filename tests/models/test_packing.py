"""Packed rows: where tokens lie, what they see, and which architectures are found to take them."""

import pytest
import torch
from torch import nn
from transformers import LlamaForCausalLM

from stratalign.models import Spans, check_packing, find_anatomy, lay_out, packed_length
from stratalign.models.packing import layer_windows, tree_mask
from stratalign.preferences import Branch, Tree
from tiny_models import random_model

KINDS = ["llama", "qwen2", "qwen3", "mistral", "gemma2", "phi3", "olmo2", "gpt_neox", "gpt2"]

PAIR = Tree("r1", "c1", (5, 6), (Branch((7, 8, 9), 0), Branch((10, 11), 0)))
DEMONSTRATION = Tree("r2", "c2", (20,), (Branch((21, 22), 0),))


def test_a_row_holds_prefix_and_branches_of_one_tree_after_the_other_without_last_tokens():
    ids, spans, places = lay_out([PAIR, DEMONSTRATION], [[0, 1], []])
    assert ids.tolist() == [[5, 6, 7, 8, 10, 20, 21], [0] * 7]
    assert spans.positions[0].tolist() == [0, 1, 2, 3, 2, 0, 1]
    assert spans.trees.tolist() == [[0, 0, 0, 0, 0, 1, 1], [-1] * 7]
    assert spans.branches[0].tolist() == [0, 0, 1, 1, 2, 0, 1]
    assert places == {0: (0, 0, (2, 4)), 1: (0, 5, (6,))}
    assert [packed_length(tree) for tree in (PAIR, DEMONSTRATION)] == [5, 2]


def test_a_token_sees_its_own_prefix_and_branch_and_a_window_counts_positions():
    _, spans, _ = lay_out([PAIR, DEMONSTRATION], [[0, 1]])

    def seen(window):
        mask = tree_mask(spans, window, torch.float32)[0, 0]
        assert set(mask.unique().tolist()) == {0.0, torch.finfo(torch.float32).min}
        return [[column for column in range(7) if row[column] == 0] for row in mask]

    assert seen(None) == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 4], [5], [5, 6]]
    # two tokens: the first of the second branch (column 4, position 2) still sees position 1 of its prefix
    assert seen(2) == [[0], [0, 1], [1, 2], [2, 3], [1, 4], [5], [5, 6]]


def test_padding_sees_padding_so_that_no_softmax_is_empty():
    spans = Spans(*(torch.tensor([part]) for part in ([0, 0, 0], [0, -1, -1], [0, 0, 0])))
    assert (tree_mask(spans, 1, torch.float64)[0, 0] == 0).tolist() == [
        [True, False, False],
        [False, True, False],
        [False, True, True],
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_these_architectures_take_packed_rows(kind):
    torch.manual_seed(0)
    model = random_model(kind, 3, 101).eval()
    window = getattr(model.config, "sliding_window", None)
    assert check_packing(model, find_anatomy(model))
    assert getattr(model.config, "sliding_window", None) == window  # shortened for the probe only


def test_windows_are_read_layer_by_layer():
    mistral, gemma = (random_model(kind, 4, 101) for kind in ("mistral", "gemma2"))
    mistral.config.sliding_window = gemma.config.sliding_window = 7
    assert layer_windows(find_anatomy(mistral)) == [7, 7, 7, 7]
    assert layer_windows(find_anatomy(gemma)) == [7, None, 7, None]
    gemma.config.layer_types = ["chunked_attention"] * 4
    with pytest.raises(ValueError, match="chunked_attention"):
        layer_windows(find_anatomy(gemma))
    assert not check_packing(gemma, find_anatomy(gemma))


class PositionBlind(LlamaForCausalLM):
    """Takes positions from a token's place in the row, whatever it is told."""

    def __init__(self, config):
        super().__init__(config)
        inner = self.model.rotary_emb.forward
        self.model.rotary_emb.forward = lambda x, position_ids: inner(x, torch.arange(x.shape[1])[None])


class Leaking(LlamaForCausalLM):
    """Every token takes something from the one before it in the row, as a convolution does."""

    def __init__(self, config):
        super().__init__(config)
        self.model.layers[1].register_forward_pre_hook(self.leak)

    @staticmethod
    def leak(_module, args):
        return (args[0] + 0.01 * args[0].roll(1, dims=1), *args[1:])


class HiddenWindow(LlamaForCausalLM):
    """Slides a window whose name no configuration key gives."""

    def __init__(self, config):
        super().__init__(config)
        for layer in self.model.layers:
            layer.register_forward_pre_hook(self.narrow, with_kwargs=True)

    @staticmethod
    def narrow(_module, args, kwargs):
        width = args[0].shape[1]
        places = torch.arange(width)
        far = places[:, None] - places[None, :] >= 6
        future = places[:, None] < places[None, :]
        mask = kwargs["attention_mask"]
        mask = torch.zeros(1, 1, width, width).masked_fill(future, -1e30) if mask is None else mask
        return args, kwargs | {"attention_mask": mask.masked_fill(far, -1e30)}


@pytest.mark.parametrize("kind", [PositionBlind, Leaking, HiddenWindow])
def test_an_architecture_in_which_the_place_in_the_row_matters_is_not_packed(kind):
    torch.manual_seed(0)
    stock = random_model("llama", 3, 101)
    assert check_packing(stock.eval(), find_anatomy(stock))
    model = kind(stock.config).eval()
    assert not check_packing(model, find_anatomy(model))


def test_attention_without_explicit_masks_is_not_packed():
    model = random_model("llama", 2, 101).eval()
    model.config._attn_implementation = "flash_attention_2"
    assert not check_packing(model, find_anatomy(model))


def test_a_probe_that_cannot_tell_right_from_wrong_does_not_count():
    model = random_model("llama", 2, 101).eval()
    for layer in model.model.layers:
        nn.init.zeros_(layer.self_attn.o_proj.weight)  # no token sees another: every mask gives the same
    assert not check_packing(model, find_anatomy(model))
