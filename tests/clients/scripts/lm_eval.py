# mypy: ignore-errors
"""Runs lm-eval's harness: the likelihood of the right ends of sentences, over a task of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.pop(0)  # this folder has scripts with the names of the clients
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "0"}
from lm_eval.api.instance import Instance
from lm_eval.models.openai_completions import LocalCompletionsAPI
from tokenizers import Tokenizer

ORIGIN, MODEL, FOLDER = sys.argv[1:]
SENTENCES = [
    ("The capital of France is", " Paris", " potato"),
    ("Two and two are", " four", " yesterday"),
    ("The sun rises in the", " east", " spoon"),
]


class Local(LocalCompletionsAPI):
    """Model with the tokenizer of the model's folder, so that nothing is fetched."""

    words = Tokenizer.from_file(str(Path(FOLDER) / "tokenizer.json"))
    eot_token_id = 0

    def tok_encode(self, string, *_args, **_kwargs):
        if isinstance(string, str):
            return self.words.encode(string, add_special_tokens=False).ids
        return [self.tok_encode(one) for one in string]


model = Local(
    model=MODEL, base_url=f"{ORIGIN}/v1/completions", tokenizer_backend=None, max_length=2048
)
model.tokenizer = model.words
model.tokenized_requests = True
for size in (1, 3):
    model._batch_size = size
    asked = [
        Instance("loglikelihood", {}, (start, end), number)
        for number, (start, *ends) in enumerate(SENTENCES)
        for end in ends
    ]
    found = model.loglikelihood(asked, disable_tqdm=True)
    right = [found[at][0] > found[at + 1][0] for at in range(0, len(found), 2)]
    assert all(right), found
