"""Scripts for frameworks that are libraries: the step that was planned, on random tokens, to be given real data.

A script is text of ours with one block that gives names to its values, which `repr` writes; nothing else is filled in.
"""

from collections.abc import Mapping

from . import FileText

Value = str | int | float | bool | list[str] | dict[str, bool | float] | None


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

FSDP_HEAD = '''"""Full training with FSDP2: torchrun starts one of these on each card.

Put your data where random tokens are made.
"""

import importlib
import operator
import os

import torch
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from transformers import AutoConfig, AutoModelForCausalLM
'''
FSDP = """\
device = "cuda" if torch.cuda.is_available() else "cpu"
torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo")
rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
if device == "cuda":
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
config = AutoConfig.from_pretrained(NAME)
with torch.device("meta"):
    model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, WEIGHTS))
if RECOMPUTE:
    model.gradient_checkpointing_enable()
shards = SHARD_SIZE or world
mesh = init_device_mesh(device, (world // shards, shards), mesh_dim_names=("replicate", "shard"))
mesh = mesh if world > shards else mesh["shard"]
policy = MixedPrecisionPolicy(param_dtype=getattr(torch, ARITHMETIC), reduce_dtype=torch.float32)
for layer in model.model.layers:
    fully_shard(layer, mesh=mesh, mp_policy=policy, reshard_after_forward=not KEEP_GATHERED)
fully_shard(model, mesh=mesh, mp_policy=policy)
model.to_empty(device=device)
model.tie_weights()
for module in model.modules():  # buffers that no checkpoint has
    if "inv_freq" in module._buffers:
        for name, buffer in type(module)(config=config).named_buffers():
            module.get_buffer(name).copy_(buffer)
whole = {}
if rank == 0:  # needs host memory for the whole model on the first machine
    whole = AutoModelForCausalLM.from_pretrained(NAME, dtype=getattr(torch, WEIGHTS)).state_dict()
set_model_state_dict(
    model, whole, options=StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
)
package, kind = OPTIMIZER.split(".", 1)
make = operator.attrgetter(kind)(importlib.import_module(package))
optimizer = make(model.parameters(), lr=1e-5, **SETTINGS)
model.train()
for step in range(STEPS):
    for _ in range(GRAD_ACCUM):
        tokens = torch.randint(config.vocab_size, (MICRO_BATCH, SEQ_LEN), device=device)  # your data here
        loss = model(input_ids=tokens, labels=tokens, use_cache=False).loss / GRAD_ACCUM
        loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    if rank == 0:
        print({"step": step, "loss": loss.item() * GRAD_ACCUM})
torch.distributed.destroy_process_group()
"""

ARGUMENTS = """\
arguments = TrainingArguments(  # before the model: DeepSpeed then shards it while it loads
    output_dir="outputs",
    per_device_train_batch_size=MICRO_BATCH,
    gradient_accumulation_steps=GRAD_ACCUM,
    gradient_checkpointing=RECOMPUTE,
    bf16=ARITHMETIC == "bfloat16",
    fp16=ARITHMETIC == "float16",
    use_cpu=not torch.accelerator.is_available(),  # to try the script on
    optim=OPTIM,
    learning_rate=1e-5,
    max_steps=STEPS,
    logging_steps=1,
    deepspeed=DEEPSPEED,
    use_liger_kernel=LIGER,
)
"""
DATA = '''

class Tokens(torch.utils.data.Dataset):
    """Random tokens of the planned length: put your data here."""

    def __len__(self):
        return 10_000

    def __getitem__(self, index):
        tokens = torch.randint(model.config.vocab_size, (SEQ_LEN,))
        return {"input_ids": tokens, "labels": tokens}


Trainer(model=model, args=arguments, train_dataset=Tokens()).train()
'''

TRAINER_HEAD = '''"""Full training with transformers' Trainer. Put your data where random tokens are made."""

import torch
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments
'''
LOADED = """\
# after the arguments: DeepSpeed's ZeRO-3 then shards the weights while they are read
model = AutoModelForCausalLM.from_pretrained(NAME, dtype=getattr(torch, WEIGHTS))
"""
TRAINER = ARGUMENTS + LOADED + DATA

LORA_HEAD = '''"""Adapters with peft and transformers' Trainer. Put your data where random tokens are made."""

import torch
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, Trainer, TrainingArguments
'''
LORA = (
    ARGUMENTS
    + """\
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
