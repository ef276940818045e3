"""Packed rows: where tokens lie, what they see, and which architectures are found to take them."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.attention.flex_attention import create_block_mask, create_mask
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaForCausalLM

from stratalign.models import (
    capture,
    check_packing,
    find_anatomy,
    lay_out,
    packed_inputs,
    packed_length,
    packing,
    replay,
)
from stratalign.models import tree_attention as tree_attention_module
from stratalign.models.packing import layer_windows
from stratalign.models.tree_attention import TreeMask, dense_mask, segment_sizes, tree_attention
from stratalign.preferences import Branch, Tree
from tiny_models import random_model

KINDS = ["llama", "qwen2", "qwen3", "mistral", "gemma2", "phi3", "olmo2", "gpt_neox", "gpt2"]

PAIR = Tree("r1", "c1", (5, 6), (Branch((7, 8, 9), 0), Branch((10, 11), 0)))
DEMONSTRATION = Tree("r2", "c2", (20,), (Branch((21, 22), 0),))


def test_a_row_holds_prefix_and_branches_of_one_tree_after_the_other_without_last_tokens():
    ids, spans, places = lay_out([PAIR, DEMONSTRATION])
    assert ids.tolist() == [[5, 6, 7, 8, 10, 20, 21]]
    assert spans.positions.tolist() == [[0, 1, 2, 3, 2, 0, 1]]
    assert spans.trees.tolist() == [[0, 0, 0, 0, 0, 1, 1]]
    assert spans.branches.tolist() == [[0, 0, 1, 1, 2, 0, 1]]
    assert spans.ends == (5, 7)
    assert places == [(0, (2, 4)), (5, (6,))]
    assert [packed_length(tree) for tree in (PAIR, DEMONSTRATION)] == [5, 2]


def test_a_token_sees_its_own_prefix_and_branch_and_a_window_counts_positions():
    _, spans, _ = lay_out([PAIR, DEMONSTRATION])

    def seen(window):
        mask = dense_mask(spans, window, torch.float32)[0, 0]
        assert set(mask.unique().tolist()) == {0.0, torch.finfo(torch.float32).min}
        return [[column for column in range(7) if row[column] == 0] for row in mask]

    assert seen(None) == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 4], [5], [5, 6]]
    # two tokens: the first of the second branch (column 4, position 2) still sees position 1 of its prefix
    assert seen(2) == [[0], [0, 1], [1, 2], [2, 3], [1, 4], [5], [5, 6]]


@pytest.mark.parametrize("kind", KINDS)
def test_these_architectures_take_packed_rows(kind):
    torch.manual_seed(0)
    model = random_model(kind, 3, 101).eval()
    window = getattr(model.config, "sliding_window", None)
    assert check_packing(model, find_anatomy(model)) == "segments"
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
        mask = kwargs["attention_mask"]
        if isinstance(mask, TreeMask):
            return args, kwargs  # it does not know what to do with it
        width = args[0].shape[1]
        places = torch.arange(width)
        far = places[:, None] - places[None, :] >= 6
        future = places[:, None] < places[None, :]
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


class Wrong(torch.autograd.Function):
    """Hands numbers on as they are, and gradients one and a half times as large."""

    @staticmethod
    def forward(_ctx, x):
        return x.clone()

    @staticmethod
    def backward(_ctx, grad):
        return 1.5 * grad


def flex_with(change):
    """Flex attention as a formula that has a backward pass on a CPU, its output changed."""

    def attend(query, key, value, *, score_mod, block_mask, scale, enable_gqa):
        tokens = query.shape[2]
        mask = create_mask(block_mask.mask_mod, 1, 1, tokens, tokens, "cpu")
        out = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, scale=scale, enable_gqa=enable_gqa
        )
        return change(out)

    return lambda: attend


def test_a_kernel_whose_backward_pass_is_wrong_or_raises_gives_way_to_the_next(monkeypatch):
    torch.manual_seed(0)
    model = random_model("llama", 3, 101).eval()

    def chosen(change):
        monkeypatch.setattr(tree_attention_module, "_compiled_flex", flex_with(change))
        return check_packing(model, find_anatomy(model))

    def raising(out):
        out.register_hook(lambda _grad: (_ for _ in ()).throw(RuntimeError("no backward pass")))
        return out

    monkeypatch.setitem(packing.KERNELS, "cpu", ("flex", "segments"))
    assert chosen(lambda out: out) == "flex"
    assert chosen(Wrong.apply) == "segments"
    assert chosen(lambda out: raising(out) if out.requires_grad else out) == "segments"
    monkeypatch.setitem(packing.KERNELS, "cpu", ("flex",))
    assert chosen(Wrong.apply) is None


def test_a_probe_that_runs_out_of_memory_is_no_verdict(monkeypatch):
    model = random_model("llama", 3, 101).eval()
    monkeypatch.setattr(packing, "_same_logits", _no_memory)
    with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        check_packing(model, find_anatomy(model))


def _no_memory(*_args):
    torch.empty(2**60, dtype=torch.float32)


def test_small_trees_share_a_call_of_the_kernel_and_long_ones_have_their_own():
    assert segment_sizes([50, 100, 140, 400, 410, 420]) == [100, 40, 260, 20]
    assert segment_sizes([5]) == [5]


def random_row(heads=4, groups=2, seed=0):
    """Queries, keys and values of trees of several sizes, and their spans; a window would cut into the longest."""
    shapes = [(40, (30, 20)), (3, (2, 0)), (9, (7,)), (60, (50, 40)), (1, (1, 1))]
    trees = [
        Tree(str(i), "c", (1,) * prefix, tuple(Branch((1,) * (count + 1), 0) for count in counts))
        for i, (prefix, counts) in enumerate(shapes)
    ]
    _, spans, _ = lay_out(trees)
    tokens = spans.ends[-1]
    generator = torch.Generator().manual_seed(seed)
    parts = [
        torch.randn(1, n, tokens, 8, generator=generator, dtype=torch.float64)
        for n in (heads, groups, groups)
    ]
    return spans, *parts


@pytest.mark.parametrize("window", [None, 17])
@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("kernel", ["segments", "flex"])
def test_both_kernels_equal_the_formula_with_one_mask_for_the_whole_row(window, softcap, kernel):
    spans, query, key, value = random_row()
    scores = query @ key.repeat_interleave(2, dim=1).transpose(2, 3) * 0.3
    scores = scores if softcap is None else torch.tanh(scores / softcap) * softcap
    weights = (scores + dense_mask(spans, window, torch.float64)).softmax(-1)
    wanted = (weights @ value.repeat_interleave(2, dim=1)).transpose(1, 2)
    mask = TreeMask(spans, window, torch.float64, kernel)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # flex says that it runs uncompiled
        found, _ = tree_attention(nn.Module(), query, key, value, mask, scaling=0.3, softcap=softcap)
    assert found.shape == wanted.shape
    assert torch.allclose(found, wanted, rtol=1e-9, atol=1e-9 if kernel == "segments" else 1e-6)


@pytest.mark.parametrize("window", [None, 280])
def test_the_block_mask_is_the_one_that_torch_makes_of_the_whole_mask(window):
    shapes = [(300, (200, 90)), (40, (30, 20)), (129, (140,)), (3, (2, 0))]
    trees = [
        Tree(str(i), "c", (1,) * prefix, tuple(Branch((1,) * (count + 1), 0) for count in counts))
        for i, (prefix, counts) in enumerate(shapes)
    ]
    _, spans, _ = lay_out(trees)
    tokens = spans.ends[-1]
    mask = dense_mask(spans, window, torch.float32)[0, 0] == 0
    wanted = create_block_mask(lambda _b, _h, query, key: mask[query, key], None, None, tokens, tokens, "cpu")
    found = TreeMask(spans, window, torch.float32, "flex").blocks
    assert found.shape == wanted.shape
    for name in ("kv_num_blocks", "kv_indices", "full_kv_num_blocks", "full_kv_indices"):
        assert torch.equal(getattr(found, name), getattr(wanted, name)), name
    assert wanted.full_kv_num_blocks.any()
    assert torch.equal(found.to_dense(), wanted.to_dense())


class Largest(TorchDispatchMode):
    """Remembers the most elements of any tensor that is made."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        made = [part for part in (out if isinstance(out, (tuple, list)) else [out]) if torch.is_tensor(part)]
        self.elements = max(self.elements, *(part.numel() for part in made), 0)
        return out


@pytest.mark.parametrize("kernel", ["segments", "flex"])
@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_nothing_in_a_packed_pass_grows_with_the_square_of_the_row(kind, kernel):
    model = random_model(kind, 2, 101).eval()
    anatomy = find_anatomy(model)._replace(kernel=kernel, packs=True)
    tree = Tree("t", "c", (1,) * 60, (Branch((1,) * 21, 0), Branch((1,) * 21, 0)))  # 100 tokens

    def largest(count):
        ids, spans, _ = lay_out([tree] * count)
        with Largest() as seen:
            inputs = packed_inputs(anatomy, ids, spans)
            if kernel == "segments":  # flex attention makes a dense mask itself where it is not compiled
                replay(anatomy, capture(anatomy, [0], **inputs), 0)
        return seen.elements

    assert largest(32) <= 2.1 * largest(16)


def test_attention_that_no_kernel_knows_is_refused_so_that_the_model_is_padded():
    spans, query, key, value = random_row()
    mask = TreeMask(spans, None, torch.float64)
    with pytest.raises(ValueError, match="alibi"):
        tree_attention(nn.Module(), query, key, value, mask, alibi=torch.zeros(4))
    with pytest.raises(ValueError, match="a mask of its own"):
        tree_attention(nn.Module(), query, key, value, torch.zeros(1))
