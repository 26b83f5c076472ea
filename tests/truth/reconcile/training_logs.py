"""Logs of trainers that say what they run, as their releases word it. The figures are made up."""


def megatron() -> str:
    """The list of variables, of which many are no argument of this run."""
    values = {
        "add_bias_linear": "False",
        "apply_rope_fusion": "True",
        "attention_backend": "AttnBackend.auto",
        "attention_dropout": "0.0",
        "bert_binary_head": "True",
        "bert_embedder_type": "megatron",
        "bf16": "True",
        "context_parallel_size": "1",
        "data_parallel_size": "4",
        "decoder_seq_length": "None",
        "encoder_num_layers": "24",
        "exp_avg_dtype": "torch.float32",
        "expert_model_parallel_size": "1",
        "ffn_hidden_size": "8192",
        "fp8": "None",
        "global_batch_size": "32",
        "gradient_accumulation_fusion": "True",
        "group_query_attention": "False",
        "hidden_dropout": "0.0",
        "hidden_size": "2048",
        "img_h": "224",
        "kv_channels": "128",
        "masked_softmax_fusion": "True",
        "max_position_embeddings": "2048",
        "micro_batch_size": "2",
        "normalization": "RMSNorm",
        "num_attention_heads": "16",
        "num_experts": "None",
        "num_layers": "24",
        "num_query_groups": "1",
        "optimizer": "adam",
        "padded_vocab_size": "None",
        "pipeline_model_parallel_size": "1",
        "position_embedding_type": "rope",
        "recompute_granularity": "None",
        "recompute_num_layers": "None",
        "seq_length": "2048",
        "sequence_parallel": "True",
        "swiglu": "True",
        "tensor_model_parallel_size": "2",
        "transformer_impl": "transformer_engine",
        "untie_embeddings_and_output_weights": "True",
        "use_distributed_optimizer": "True",
        "vocab_size": "None",
        "world_size": "8",
    }
    lines = [f"  {name} {'.' * (48 - len(name))} {value}" for name, value in values.items()]
    return "\n".join(
        [
            "using world size: 8, data-parallel size: 4, context-parallel size: 1, tensor-model-parallel "
            "size: 2, pipeline-model-parallel size: 1",
            "------------------------ arguments ------------------------",
            *lines,
            "-------------------- end of arguments ---------------------",
            " > padded vocab (size: 50257) with 175 dummy tokens (new size: 50432)",
            "building GPT model ...",
            "[Rank 0] (after 1 iterations) memory (MB) | allocated: 5000.5 | max allocated: 13000.25 | "
            "reserved: 15000.0 | max reserved: 15500.0",
            "[Rank 1] (after 1 iterations) memory (MB) | allocated: 5000.5 | max allocated: 13100.25 | "
            "reserved: 15000.0 | max reserved: 15600.0",
            " [2025-01-01 10:00:00] iteration       10/     100 | elapsed time per iteration (ms): 900.0 |",
            "",
        ]
    )


TITAN = """\
[rank0]:[titan] 2025-06-01 10:00:01 - root - INFO - Building device mesh with parallelism: pp=1, dp_replicate=1, dp_shard=8, cp=1, tp=1, ep=1, etp=1
[rank0]:[titan] 2025-06-01 10:00:05 - root - INFO - CUDA capacity: NVIDIA H100 80GB HBM3 with 79.10GiB memory
[rank0]:[titan] 2025-06-01 10:00:05 - root - INFO - Model llama3 8B size: 8,030,261,248 total parameters
[rank0]:[titan] 2025-06-01 10:00:05 - root - INFO - Applied selective activation checkpointing to the model
[rank0]:[titan] 2025-06-01 10:00:05 - root - INFO - Applied FSDP to the model
[rank0]:[titan] 2025-06-01 10:00:07 - root - INFO - Trainer is initialized with local batch size 1, global batch size 8, gradient accumulation steps 1, sequence length 8192, total steps 10 (warmup 2)
[rank0]:[titan] 2025-06-01 10:00:17 - root - INFO - step:  1  loss: 12.2  grad_norm: 3.1  memory: 44.60GiB(56.39%)  tps: 3,000
"""
OLD_TITAN = """\
[rank0]:2024-10-01 10:00:01 - root - INFO - Building 2-D device mesh with ['dp_shard', 'tp'], [4, 2]
[rank0]:2024-10-01 10:00:05 - root - INFO - Model llama3 8B size: 8,030,261,248 total parameters
[rank0]:2024-10-01 10:00:05 - root - INFO - Applied full activation checkpointing to the model
[rank0]:2024-10-01 10:00:07 - root - INFO - Training starts at step 1, with local batch size 2, global batch size 8, sequence length 4096, total steps 10 (warmup 2)
[rank0]:2024-10-01 10:00:17 - root - INFO - step:  1  loss: 12.2  memory: 34.60GiB(43.39%)  wps: 3,000
"""
FACTORY = """\
[INFO|2025-03-27 14:51:02] llamafactory.hparams.parser:505 >> Process rank: 0, world size: 2, device: cuda:0, distributed training: True, compute dtype: torch.bfloat16
[INFO|configuration_utils.py:670] 2025-03-27 14:51:02 >> loading configuration file config.json from cache at /cache/hub/models--Qwen--Qwen2.5-7B/snapshots/c2/config.json
[INFO|2025-03-27 14:51:28] llamafactory.model.model_utils.quantization:144 >> Quantizing model to 4 bit with bitsandbytes.
[INFO|2025-03-27 14:51:36] llamafactory.model.model_utils.checkpointing:144 >> Gradient checkpointing enabled.
[INFO|2025-03-27 14:51:36] llamafactory.model.adapter:144 >> Upcasting trainable params to float32.
[INFO|2025-03-27 14:51:36] llamafactory.model.adapter:144 >> Fine-tuning method: LoRA
[INFO|2025-03-27 14:51:36] llamafactory.model.model_utils.misc:144 >> Found linear modules: q_proj,v_proj
[INFO|2025-03-27 14:51:36] llamafactory.model.loader:144 >> trainable params: 5,046,272 || all params: 7,620,662,784 || trainable%: 0.0662
[INFO|trainer.py:1588] 2025-03-27 14:51:37 >> ***** Running training *****
[INFO|trainer.py:1590] 2025-03-27 14:51:37 >>   Instantaneous batch size per device = 2
[INFO|trainer.py:1593] 2025-03-27 14:51:37 >>   Total train batch size (w. parallel, distributed & accumulation) = 16
[INFO|trainer.py:1594] 2025-03-27 14:51:37 >>   Gradient Accumulation steps = 4
[INFO|trainer.py:1596] 2025-03-27 14:51:37 >>   Number of trainable parameters = 5,046,272
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.16 GiB. GPU 0 has a total capacity of 12.00 GiB of which 0.50 GiB is free. Including non-PyTorch memory, this process has 11.40 GiB memory in use. Of the allocated memory 11.00 GiB is allocated by PyTorch, and 0.10 GiB is reserved by PyTorch but unallocated.
"""
TRAINER = """\
loading configuration file /models/Qwen2.5-7B/config.json
***** Running training *****
  Num examples = 1,000
  Num Epochs = 1
  Instantaneous batch size per device = 1
  Total train batch size (w. parallel, distributed & accumulation) = 8
  Gradient Accumulation steps = 1
  Total optimization steps = 125
  Number of trainable parameters = 7,615,616,512
[2025-03-01 10:00:00,100] [INFO] [logging.py:128:log_dist] [Rank 0] Creating torch.bfloat16 ZeRO stage 3 optimizer
{'train_runtime': 123.4, 'train_samples_per_second': 8.1}
"""
AXOLOTL = """\
[2025-05-01 10:00:00,100] [INFO] [axolotl.cli.config.load_cfg:244] [PID:7] [RANK:0] config:
{
  "adapter": "lora",
  "base_model": "Qwen/Qwen2.5-7B",
  "bf16": true,
  "datasets": [
    {
      "path": "mhenrichsen/alpaca_2k_test",
      "type": "alpaca"
    }
  ],
  "gradient_accumulation_steps": 2,
  "gradient_checkpointing": true,
  "lora_r": 16,
  "lora_target_linear": true,
  "micro_batch_size": 2,
  "optimizer": "adamw_torch_fused",
  "sample_packing": true,
  "sequence_len": 4096,
  "world_size": 4
}
[2025-05-01 10:02:00,100] [INFO] [axolotl.utils.callbacks.on_step_end:100] [PID:7] [RANK:0] cuda:0 memory usage while training: 24.500GB (+5.142GB cache, +0.771GB misc)
"""
DEEPSPEED = """\
[2025-04-01 10:00:00,100] [INFO] [logging.py:128:log_dist] [Rank 0] DeepSpeed info: version=0.16.5, git-hash=unknown, git-branch=unknown
[2025-04-01 10:00:00,200] [INFO] [config.py:989:print_user_config]   json = {
    "train_batch_size": 16,
    "train_micro_batch_size_per_gpu": 2,
    "gradient_accumulation_steps": 1,
    "bf16": {
        "enabled": true
    },
    "zero_optimization": {
        "stage": 2,
        "offload_optimizer": {
            "device": "cpu"
        }
    }
}
[2025-04-01 10:00:10,300] [INFO] [utils.py:782:see_memory_usage] MA 14.20 GB         Max_MA 28.40 GB         CA 28.90 GB         Max_CA 29 GB
"""
UNSLOTH = """\
==((====))==  Unsloth 2025.4.8: Fast Qwen2 patching. Transformers: 4.51.3.
   \\\\   /|    Tesla T4. Num GPUs = 1. Max memory: 14.741 GB. Platform: Linux.
   \\\\   /|    Num examples = 1,000 | Num Epochs = 1 | Total steps = 60
O^O/ \\_/ \\    Batch size per device = 2 | Gradient accumulation steps = 4
\\        /    Data Parallel GPUs = 1 | Total batch size (2 x 4 x 1) = 8
 "-____-"     Trainable parameters = 40,370,176/7,655,986,688 (0.53% trained)
"""
