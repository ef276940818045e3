"""A tiny random model that ends most of its answers."""

import pytest
import torch

from tiny_models import make_tokenizer, random_model


@pytest.fixture(scope="session")
def ending_model(tmp_path_factory):
    """Its output row of the end token is twelve times as long as others, so that now and then the end is likeliest."""
    folder = tmp_path_factory.mktemp("ending")
    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    model = random_model("llama", 3, len(tokenizer))
    with torch.no_grad():
        model.lm_head.weight[0] *= 12
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
