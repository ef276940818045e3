"""The base model's tokenizer: one token for each word and sign of the world."""

from __future__ import annotations

from transformers import PreTrainedTokenizerFast

from stratalign.microworld import vocabulary

END, UNKNOWN = "<eos>", "<unk>"


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer: lower case, signs apart from words; decoding puts them back without a space."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    words = [END, UNKNOWN, *vocabulary()]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=UNKNOWN))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True)]
    )
    inner.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token=END, unk_token=UNKNOWN, clean_up_tokenization_spaces=False
    )
