"""Scripts for frameworks that are libraries: the step that was planned, on random tokens, to be given real
data."""

FSDP_SCRIPT = '''"""Full training of {hub} with FSDP2: torchrun starts one of these on each card."""

import os

import torch
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from transformers import AutoConfig, AutoModelForCausalLM

NAME, SEQ_LEN, MICRO_BATCH, GRAD_ACCUM, RECOMPUTE = "{hub}", {seq_len}, {micro_batch}, {grad_accum}, {recompute}
torch.distributed.init_process_group("nccl")
torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
config = AutoConfig.from_pretrained(NAME)
with torch.device("meta"):
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
if RECOMPUTE:
    model.gradient_checkpointing_enable()
policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
for layer in model.model.layers:
    fully_shard(layer, mp_policy=policy)
fully_shard(model, mp_policy=policy)
model.to_empty(device="cuda")  # load a checkpoint here: torch.distributed.checkpoint
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, foreach={foreach})
for step in range(100):
    for _ in range(GRAD_ACCUM):
        tokens = torch.randint(config.vocab_size, (MICRO_BATCH, SEQ_LEN), device="cuda")  # your data here
        loss = model(input_ids=tokens, labels=tokens, use_cache=False).loss / GRAD_ACCUM
        loss.backward()
    optimizer.step()
    optimizer.zero_grad()
torch.distributed.destroy_process_group()
'''

DATA = '''

class Tokens(torch.utils.data.Dataset):
    """Random tokens of the planned length: put your data here."""

    def __len__(self):
        return 10_000

    def __getitem__(self, index):
        tokens = torch.randint(model.config.vocab_size, (SEQ_LEN,))
        return {{"input_ids": tokens, "labels": tokens}}


arguments = TrainingArguments(
    output_dir="outputs",
    per_device_train_batch_size={micro_batch},
    gradient_accumulation_steps={grad_accum},
    gradient_checkpointing={recompute},
    bf16=True,
    learning_rate=1e-5,
    max_steps=100,
    deepspeed={deepspeed},
)
Trainer(model=model, args=arguments, train_dataset=Tokens()).train()
'''

TRAINER_SCRIPT = (
    '''"""Full training of {hub} with transformers' Trainer."""

import torch
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

NAME, SEQ_LEN = "{hub}", {seq_len}
model = AutoModelForCausalLM.from_pretrained(NAME, dtype=torch.bfloat16)
'''
    + DATA
)

LORA_SCRIPT = (
    '''"""Adapters for {hub} with peft and transformers' Trainer."""

import torch
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, Trainer, TrainingArguments

NAME, SEQ_LEN, FOUR_BIT = "{hub}", {seq_len}, {four_bit}
narrow = BitsAndBytesConfig(
    load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.bfloat16
)
model = AutoModelForCausalLM.from_pretrained(NAME, dtype=torch.bfloat16, quantization_config=narrow if FOUR_BIT else None)
if FOUR_BIT:
    model = prepare_model_for_kbit_training(model)
model = get_peft_model(model, LoraConfig(r={rank}, lora_alpha={rank} * 2, target_modules={modules}, task_type="CAUSAL_LM"))
'''
    + DATA
)
