"""Trains a small language model, 2.6 million parameters on the King James Bible (public domain).
`python -m bench.small_model TEXT FOLDER`.

TEXT is what `bible -f gen1:1-rev22:21` prints (Debian's bible-kjv). Every twentieth chapter is held out; a
piece of that is kept beside the weights, for tests. Half an hour on a core that others use too. After STEPS
int4 costs it 0.003 nats a token and int2 0.06 (measured): it hardly feels compression yet, and takes more.
"""

import json
import math
import re
import sys
import time
from pathlib import Path
from typing import Any

import torch

VOCABULARY, LENGTH, BATCH, STEPS, WARM_UP, RATE = 1024, 256, 24, 400, 40, 4e-3
HELD_OUT, HELD_OUT_CHARS = 20, 60_000
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 1024,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": 0,
}


def chapters(text: str) -> list[str]:
    """The chapters of the printed text, a verse a line, without their numbers."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if match := re.match(r"(\w+?)(\d+):(\d+) (.*)", line):
            found.setdefault(f"{match[1]} {match[2]}", []).append(match[4])
    return ["\n".join(verses) + "\n" for verses in found.values()]


def tokenizer_of(texts: list[str]) -> Any:
    """A byte-level BPE of VOCABULARY tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=["<|end|>"], initial_alphabet=alphabet),
    )
    return tokenizer


def batches(ids: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """BATCH sequences from random places."""
    places = torch.randint(0, len(ids) - LENGTH - 1, (BATCH,), generator=generator)
    return torch.stack([ids[place : place + LENGTH + 1] for place in places])


def rate(step: int) -> float:
    """A warm-up, then a cosine down to a fiftieth."""
    if step < WARM_UP:
        return (step + 1) / WARM_UP
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - WARM_UP) / (STEPS - WARM_UP)))


def loss_of(model: Any, sequences: torch.Tensor) -> torch.Tensor:
    """Cross entropy."""
    logits = model(input_ids=sequences[:, :-1]).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), sequences[:, 1:].flatten())


def main() -> None:
    """Train, print the loss, write the folder."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    text, folder = Path(sys.argv[1]).read_text(encoding="utf-8"), Path(sys.argv[2])
    found = chapters(text)
    held_out = [chapter for number, chapter in enumerate(found) if number % HELD_OUT == 0]
    training = [chapter for number, chapter in enumerate(found) if number % HELD_OUT]
    tokenizer = tokenizer_of(training)
    ids, held = (torch.tensor(tokenizer.encode("".join(part)).ids) for part in (training, held_out))
    model: Any = LlamaForCausalLM(LlamaConfig(**SHAPE))
    decayed = [each for each in model.parameters() if each.dim() > 1]
    plain = [each for each in model.parameters() if each.dim() < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}],
        lr=RATE,
        betas=(0.9, 0.95),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    generator = torch.Generator().manual_seed(1)
    started = time.monotonic()
    for step in range(STEPS):
        loss = loss_of(model, batches(ids, generator))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 50 == 0 or step == STEPS - 1:
            with torch.no_grad():
                rows = held[: len(held) // (LENGTH + 1) * (LENGTH + 1)].view(-1, LENGTH + 1)[:32]
                val = float(loss_of(model, rows))
            print(
                f"{step} loss {loss.item():.3f} held out {val:.3f} {time.monotonic() - started:.0f} s",
                flush=True,
            )
    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>", "bos_token": "<|end|>"}
        )
    )
    (folder / "held_out.txt").write_text("".join(held_out)[:HELD_OUT_CHARS], encoding="utf-8")


if __name__ == "__main__":
    main()
