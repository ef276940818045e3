"""`transformers serve` with one function replaced: the model's `generate` always spells the reply in a file.

python serve_scripted.py REPLY_FILE MODEL_FOLDER --host 127.0.0.1 --port 8000
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def main() -> None:
    import torch
    from transformers import LlamaForCausalLM
    from transformers.cli.transformers import main as transformers_cli

    reply = Path(sys.argv[1]).read_text(encoding="utf-8")

    def generate(_self: Any, input_ids: Any, tokenizer: Any, **_settings: Any) -> Any:
        ids = tokenizer(reply, add_special_tokens=False, return_tensors="pt").input_ids
        return torch.cat([input_ids, ids.to(input_ids.device)], dim=1)

    LlamaForCausalLM.generate = generate  # type: ignore[method-assign]
    sys.argv = ["transformers", "serve", *sys.argv[2:]]
    transformers_cli()


if __name__ == "__main__":
    main()
