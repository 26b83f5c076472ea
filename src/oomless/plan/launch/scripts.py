"""Scripts for frameworks that are libraries: the step that was planned, on random tokens, to be given real data.

A script is text of ours with one block that gives names to its values, which `repr` writes; nothing else is filled in.
"""

from collections.abc import Mapping

from . import FileText

Value = str | int | float | bool | list[str] | None


def python(head: str, values: Mapping[str, Value], body: str) -> FileText:
    """Return a Python script: docstring and imports, the names of its values, what it does with them.

    >>> print(python("import sys\\n", {"NAME": 'a"b', "SEQ_LEN": 4096}, "print(NAME)\\n"), end="")
    import sys
    <BLANKLINE>
    NAME = 'a"b'
    SEQ_LEN = 4096
    print(NAME)
    """
    named = "".join(f"{name} = {value!r}\n" for name, value in values.items())
    return FileText(f"{head}\n{named}{body}")


SERVE_HEAD = '''"""Load a model and answer one prompt."""

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
'''
SERVE = """\
tokenizer = AutoTokenizer.from_pretrained(NAME)
model = AutoModelForCausalLM.from_pretrained(NAME, dtype=DTYPE, device_map=DEVICE_MAP)
prompts = ["Why is the sky blue?"] * CONCURRENCY
inputs = tokenizer(prompts, return_tensors="pt").to(model.device)
with torch.inference_mode():
    output = model.generate(**inputs, max_new_tokens=256, cache_implementation=CACHE)
print(tokenizer.batch_decode(output, skip_special_tokens=True)[0])
"""

FSDP_HEAD = '''"""Full training with FSDP2: torchrun starts one of these on each card."""

import os

import torch
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from transformers import AutoConfig, AutoModelForCausalLM
'''
FSDP = """\
torch.distributed.init_process_group("nccl")
torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
config = AutoConfig.from_pretrained(NAME)
with torch.device("meta"):
    model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, WEIGHTS))
if RECOMPUTE:
    model.gradient_checkpointing_enable()
policy = MixedPrecisionPolicy(param_dtype=getattr(torch, ARITHMETIC), reduce_dtype=torch.float32)
for layer in model.model.layers:
    fully_shard(layer, mp_policy=policy)
fully_shard(model, mp_policy=policy)
model.to_empty(device="cuda")  # load a checkpoint here: torch.distributed.checkpoint
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, foreach=FOREACH)
for step in range(100):
    for _ in range(GRAD_ACCUM):
        tokens = torch.randint(config.vocab_size, (MICRO_BATCH, SEQ_LEN), device="cuda")  # your data here
        loss = model(input_ids=tokens, labels=tokens, use_cache=False).loss / GRAD_ACCUM
        loss.backward()
    optimizer.step()
    optimizer.zero_grad()
torch.distributed.destroy_process_group()
"""

DATA = '''

class Tokens(torch.utils.data.Dataset):
    """Random tokens of the planned length: put your data here."""

    def __len__(self):
        return 10_000

    def __getitem__(self, index):
        tokens = torch.randint(model.config.vocab_size, (SEQ_LEN,))
        return {"input_ids": tokens, "labels": tokens}


arguments = TrainingArguments(
    output_dir="outputs",
    per_device_train_batch_size=MICRO_BATCH,
    gradient_accumulation_steps=GRAD_ACCUM,
    gradient_checkpointing=RECOMPUTE,
    bf16=ARITHMETIC == "bfloat16",
    fp16=ARITHMETIC == "float16",
    learning_rate=1e-5,
    max_steps=100,
    deepspeed=DEEPSPEED,
)
Trainer(model=model, args=arguments, train_dataset=Tokens()).train()
'''

TRAINER_HEAD = '''"""Full training with transformers' Trainer."""

import torch
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments
'''
TRAINER = (
    """\
model = AutoModelForCausalLM.from_pretrained(NAME, dtype=getattr(torch, WEIGHTS))
"""
    + DATA
)

LORA_HEAD = '''"""Adapters with peft and transformers' Trainer."""

import torch
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, Trainer, TrainingArguments
'''
LORA = (
    """\
narrow = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_use_double_quant=True,
    bnb_4bit_compute_dtype=getattr(torch, ARITHMETIC),
)
model = AutoModelForCausalLM.from_pretrained(
    NAME, dtype=getattr(torch, ARITHMETIC), quantization_config=narrow if FOUR_BIT else None
)
if FOUR_BIT:
    model = prepare_model_for_kbit_training(model)
adapter = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=MODULES, task_type="CAUSAL_LM")
model = get_peft_model(model, adapter)
"""
    + DATA
)
