"""Every reader of what comes from outside, once: fuzz and bombs go through this list, so that a next reader
gets them by one entry."""

import gzip
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple

from oomless import facts
from oomless.errors import OomlessError
from oomless.limits import HUB_ANSWER, parse_json

ROOT = Path(__file__).parent.parent
TABLES = ROOT / "tests" / "tables"


class FileReader(NamedTuple):
    """One reader."""

    name: str
    """Of the file that it is given: several readers look at its ending."""
    seeds: Callable[[], list[bytes]]
    """Good inputs."""
    read: Callable[[Path], object]
    share: int = 1
    """Of the inputs of a run; a cheap reader can take more."""
    packed: bool = False
    """Its content is mutated before it is packed."""


def config_seeds() -> list[bytes]:
    names = (
        "deepseek-v3 deepseek-v3.2 deepseek-v4-flash deepseek-coder-1.3b gpt-oss-20b qwen2.5-vl-7b".split()
    )
    return [json.dumps(facts.model_config(name)).encode() for name in names]


def read_model(path: Path) -> object:
    from oomless.model.load import load_path

    return load_path(path).num_parameters


def header_seeds() -> list[bytes]:
    from fake_hub import shard

    small = shard({"a": ("BF16", (2, 3)), "b.weight": ("F32", (4,)), "c": ("U8", (1,))})
    return [small.content + b"\0" * small.num_zeros]


def read_safetensors(path: Path) -> object:
    from oomless.model.safetensors import read_header

    return read_header(path)


def index_seeds() -> list[bytes]:
    names = {f"model.layers.{n}.w": f"model-0000{n % 3}-of-00003.safetensors" for n in range(9)}
    return [json.dumps({"metadata": {"total_size": 99}, "weight_map": names}).encode()]


def read_index(path: Path) -> object:
    from oomless.model.checkpoint import parse_index

    return parse_index(path.read_bytes(), "index")


def gguf_seeds() -> list[bytes]:
    import numpy as np
    from gguf import GGUFWriter

    path = Path(mkdtemp()) / "seed.gguf"
    writer = GGUFWriter(str(path), "llama")
    writer.add_context_length(2048)
    writer.add_embedding_length(64)
    writer.add_block_count(1)
    writer.add_head_count(4)
    writer.add_feed_forward_length(128)
    writer.add_vocab_size(32)
    writer.add_token_list([f"t{n}" for n in range(32)])
    for name, shape in {
        "token_embd.weight": (32, 64),
        "output.weight": (32, 64),
        "output_norm.weight": (64,),
        "blk.0.attn_q.weight": (64, 64),
        "blk.0.attn_k.weight": (64, 64),
        "blk.0.attn_v.weight": (64, 64),
        "blk.0.attn_output.weight": (64, 64),
        "blk.0.ffn_up.weight": (128, 64),
        "blk.0.ffn_gate.weight": (128, 64),
        "blk.0.ffn_down.weight": (64, 128),
        "blk.0.attn_norm.weight": (64,),
        "blk.0.ffn_norm.weight": (64,),
    }.items():
        writer.add_tensor(name, np.zeros(shape, np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return [path.read_bytes()]


def training_seeds(kind: str) -> Callable[[], list[bytes]]:
    texts = {
        "yaml": b"base_model: deepseek-ai/DeepSeek-V2-Lite\nadapter: lora\nlora_r: 16\n"
        b"lora_target_modules: [q_proj, o_proj]\nmicro_batch_size: 2\nsequence_len: 4096\n"
        b"optimizer: adamw_torch\nbf16: true\ndeepspeed: zero3.json\n",
        "toml": b'[model]\nname = "deepseek_v3"\nflavor = "16B"\n[training]\nlocal_batch_size = 4\n'
        b"seq_len = 4096\n[parallelism]\ntensor_parallel_degree = 2\n"
        b'[activation_checkpoint]\nmode = "full"\n',
        "json": b'{"train_micro_batch_size_per_gpu": 2, "bf16": {"enabled": true}, "zero_optimization": '
        b'{"stage": 3, "offload_optimizer": {"device": "cpu"}}, "optimizer": {"type": "AdamW"}}',
    }
    return lambda: [texts[kind]]


def read_training(path: Path) -> object:
    from oomless import train

    return train("deepseek-coder-1.3b", "h100:8", from_file=str(path))


def megatron_seeds() -> list[bytes]:
    return [
        b"--num-layers 12 --hidden-size 768 --num-attention-heads 12 --seq-length 1024 --vocab-size 50000 "
        b"--micro-batch-size 2 --global-batch-size 32 --bf16 --tensor-model-parallel-size 2",
        b"TP=2\nW=$((2 * 512))\nARGS=(--num-layers 4 --hidden-size $W --num-attention-heads 8)\n"
        b"torchrun pretrain_gpt.py ${ARGS[@]} --seq-length ${L:-512} --vocab-size 999 "
        b"--tensor-model-parallel-size ${TP}\n",
        b'{"--num-layers": 4, "--hidden-size": 512, "--num-attention-heads": 8, "--seq-length": 512, '
        b'"--vocab-size": 999, "--num-experts": 8, "--moe-router-topk": 2, '
        b'"--moe-layer-freq": "([0]+[1]*3)"}',
        b"ENV_VARS:\n  CUDA_DEVICE_MAX_CONNECTIONS: 1\nMODEL_ARGS:\n  --num-layers: 4\n  --hidden-size: 512\n"
        b"  --num-attention-heads: 8\n  --seq-length: 512\n  --vocab-size: 999\n  --bf16: true\n",
    ]


def read_megatron(path: Path) -> object:
    from oomless import train

    return train(megatron_args=str(path), world_size=8, gpu="h100:8")


def command_seeds() -> list[bytes]:
    return [
        b"vllm serve deepseek-ai/DeepSeek-V2-Lite -tp 2 --max-model-len 32k --kv-cache-dtype fp8 --port 8000",
        b"VLLM_USE_V1=1 docker run --gpus all vllm/vllm-openai:v0.11.0 --model deepseek-ai/DeepSeek-R1 -tp 8 "
        b'--compilation-config \'{"level": 3}\' --speculative-config \'{"method": "mtp"}\'',
        b"python -m sglang.launch_server --model-path deepseek-ai/DeepSeek-V3 --tp 8 "
        b"--mem-fraction-static 0.9",
        b"llama-server -m deepseek-v2-lite -ngl 99 -c 8192 -np 4 -ot 'blk\\.(1|2)\\.ffn_.*=CPU' -ctk q8_0",
    ]


def read_pasted(path: Path) -> object:
    from oomless.cli.answer import answer_infer

    command = path.read_text(encoding="utf-8", errors="replace")
    return answer_infer(None, {"command": command, "gpu": "h200:8", "offline": True, "json": True})


def manifest_seeds() -> list[bytes]:
    return [
        b"services:\n  llm:\n    image: vllm/vllm-openai:v0.11.0\n    environment: {TP: 2}\n"
        b"    command: --model deepseek-ai/DeepSeek-V2-Lite --tensor-parallel-size ${TP:-2}\n    deploy:\n"
        b"      resources: {reservations: {devices: [{driver: nvidia, count: 2}]}}\n",
        b"apiVersion: v1\nkind: Pod\nspec:\n  nodeSelector: {nvidia.com/gpu.product: NVIDIA-H200}\n"
        b"  containers:\n  - image: lmsysorg/sglang:v0.5.3\n    command: [bash, -c]\n    args:\n"
        b"    - python3 -m sglang.launch_server --model-path deepseek-ai/DeepSeek-V2-Lite --tp $(TP)\n"
        b"    env: [{name: TP, value: 2}]\n    resources: {limits: {nvidia.com/gpu: 2}}\n---\nkind: Job\n",
        b"apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nspec:\n  predictor:\n    model:\n"
        b"      modelFormat: {name: huggingface}\n      args: [--model_id=deepseek-ai/DeepSeek-V2-Lite]\n",
        b"servingEngineSpec:\n  modelSpec:\n  - modelURL: deepseek-ai/DeepSeek-V2-Lite\n    tag: v0.11.0\n"
        b"    requestGPU: 2\n    vllmConfig: {tensorParallelSize: 2, v0: 1, extraArgs: [--enforce-eager]}\n",
        b"modelArtifacts: {name: deepseek-ai/DeepSeek-V2-Lite}\ndecode:\n  parallelism: {tensor: 2}\n"
        b"  containers:\n  - {image: x, modelCommand: vllmServe, args: [--enforce-eager]}\n",
    ]


def script_seeds() -> list[bytes]:
    return [
        b"#!/bin/bash\nexport TP=2\ncat > s.yaml <<'EOF'\nmax-model-len: 32K\nkv-cache-dtype: fp8\n"
        b"compilation-config: {cudagraph_capture_sizes: [1, 2]}\nEOF\n# start\n"
        b"vllm serve deepseek-ai/DeepSeek-V2-Lite -tp ${TP} --config s.yaml 2>&1 | tee log &\n",
        b"cat <<EOF > x.yml\nkv_cache_config:\n  free_gpu_memory_fraction: 0.8\n  dtype: fp8\nEOF\n"
        b"trtllm-serve deepseek-ai/DeepSeek-V2-Lite --tp_size 2 --extra_llm_api_options x.yml\n",
    ]


def table_seeds() -> list[bytes]:
    names = "inference.csv training.csv perf.csv perf_more.csv gguf_sizes.csv".split()
    found = []
    for name in names:
        lines = (TABLES / name).read_bytes().split(b"\n")
        found += [b"\n".join([lines[0], *lines[at : at + 3]]) for at in range(1, len(lines) - 3, 40)]
    return found


def record_seeds() -> list[bytes]:
    return (TABLES / "megatron.jsonl").read_bytes().split(b"\n")[:20]


def read_measured(path: Path) -> object:
    from oomless.files import json_text
    from oomless.truth.validate import INTERNAL, summarize, validate_table

    rows = validate_table(path)
    if defect := next((row.reason for row in rows if INTERNAL in row.reason), ""):
        raise AssertionError(defect)
    return json_text([row.to_json() for row in rows]), summarize(rows)


def trace_seeds() -> list[bytes]:
    from oomless.recording.file import packed, read_trace

    recording = read_trace(ROOT / "docs" / "traces" / "coder-1.3b.trace")
    whole = json.loads(gzip.decompress(packed(recording)))
    num = 40
    whole["events"] = whole["events"][:num]
    tensors = whole["tensors"]
    for column in ("sizes", "kinds", "modules", "operators", "lines"):
        tensors[column] = tensors[column][:num]
    for words in ("module_names", "operator_names", "line_texts"):
        tensors[words] = tensors[words][: max(tensors[words.split("_")[0] + "s"]) + 1]
    whole["phases"] = [["forward", 0, 0, num // 2], ["backward", 0, num // 2, num]]
    return [json.dumps(whole).encode()]


def read_recording(path: Path) -> object:
    from oomless.cli.trace import trace

    return trace.invoke(trace.make_context("trace", ["--from", str(path)]))


def price_seeds() -> list[bytes]:
    return [
        b"InstanceType,AcceleratorName,AcceleratorCount,Price,SpotPrice,Region,vCPUs\n"
        b"gpu8,H100,8,23.60,10.00,eu-north1,96\ngpu1,A100-80GB,1,1.5,,us,12\ngpu4,L40S,4,4.0,2.0,eu,32\n"
    ]


def read_price_table(path: Path) -> object:
    from oomless.plan.price_files import read_prices

    return read_prices(str(path), "2026-01-01")


def settings_seeds() -> list[bytes]:
    return [b'[infer]\nengine = "vllm"\ngpu-memory-utilization = 0.9\ntp = 8\nkv-cache-dtype = "fp8"\n']


def read_defaults(path: Path) -> object:
    from oomless.run.settings import read_settings

    return read_settings({"OOMLESS_CONFIG": str(path)})


def answer_seeds() -> list[bytes]:
    from oomless import infer

    found = infer("deepseek-v2-lite", "h200:2", tp=2, max_model_len=4096).to_json()
    return [json.dumps(found).encode()]


def read_saved(path: Path) -> object:
    from oomless.cli.answer import answer_infer

    return answer_infer(None, {"from_file": str(path), "offline": True, "json": True})


def workload_seeds() -> list[bytes]:
    return [b"arrival_s,prompt_tokens,output_tokens\n0.0,100,20\n0.5,200,30\n0.9,50,5\n"]


def read_requests(path: Path) -> object:
    from oomless.speed.workload import read_workload

    return read_workload(str(path))


def log_seeds() -> list[bytes]:
    import other_logs
    import vllm_logs

    makers = (vllm_logs.logs, other_logs.sglang_logs, other_logs.llama_logs, other_logs.trtllm_logs)
    return [log.text.encode() for make in makers for log in make()]


def read_engine_log(path: Path) -> object:
    from oomless.truth.reconcile.read_log import read_log

    return read_log(path)


def snapshot_seeds() -> list[bytes]:
    block = {
        "address": 1 << 30,
        "size": 512,
        "requested_size": 500,
        "state": "active_allocated",
        "frames": [],
    }
    frame = {"filename": "/home/me/train.py", "line": 3, "name": "step"}
    document = {
        "segments": [
            {
                "address": 1 << 30,
                "total_size": 2 << 20,
                "device": 0,
                "stream": 0,
                "segment_type": "small",
                "allocated_size": 512,
                "active_size": 512,
                "blocks": [block, {**block, "state": "inactive", "size": (2 << 20) - 512}],
            }
        ],
        "device_traces": [
            [
                {"action": "alloc", "addr": 1 << 30, "size": 512, "stream": 0, "frames": [frame]},
                {"action": "free_completed", "addr": 1 << 30, "size": 512, "stream": 0, "frames": []},
            ]
        ],
    }
    return [json.dumps(document).encode(), pickle.dumps(document)]


def read_allocations(path: Path) -> object:
    from oomless.recording.snapshot_file import read_snapshot

    return read_snapshot(path)


def oom_seeds() -> list[bytes]:
    return [
        b"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity "
        b"of 79.10 GiB of which 1.31 GiB is free. Process 123 has 77.78 GiB memory in use. Of the allocated "
        b"memory 75.00 GiB is allocated by PyTorch, and 1.20 GiB is reserved by PyTorch but unallocated."
    ]


def read_failure(path: Path) -> object:
    from oomless.recording.oom_text import read_oom

    return read_oom(path.read_text(encoding="utf-8", errors="replace"), "a log")


def hub_seeds() -> list[bytes]:
    answer = {
        "id": "org/model",
        "sha": "0" * 40,
        "siblings": [{"rfilename": "config.json"}, {"rfilename": "model.safetensors"}],
        "safetensors": {"parameters": {"BF16": 9, "F32": 1}, "total": 10},
    }
    return [json.dumps(answer).encode()]


def read_hub_answer(path: Path) -> object:
    return parse_json(path.read_bytes(), "answer", HUB_ANSWER)


def pattern_seeds() -> list[bytes]:
    return [
        rb".*mlp\.(gate|up|gate_up|down)_proj.*",
        rb"^(?!.*experts).*[qkv]_proj$",
        rb"blk\.(?:[3-9]|1\d)\.ffn_.*_exps\.",
    ]


def read_pattern(path: Path) -> object:
    from oomless.model.name_patterns import NamePatterns

    text = path.read_text(encoding="utf-8", errors="replace")
    found = NamePatterns([text], "search")
    return [found.finds([f"model.layers.{n}.mlp.experts.7.down_proj"]) for n in range(20)]


def journal_seeds() -> list[bytes]:
    from oomless.monitor.entries import RunStart

    start = RunStart(
        "oomless/monitor-run/1", 0.0, 1, 0, 1, "x.py", "Net", 9, 9, 18, "cpu", "CPU", None, "malloc", 1, {}
    )
    lines = [
        {"kind": "start", **start._asdict()},
        {"kind": "healed", "step": 7, "file": "train.py", "line": 12},
    ]
    return [b"".join(json.dumps(line).encode() + b"\n" for line in lines)]


def read_watched(path: Path) -> object:
    from oomless.monitor.journal import read_rank

    return read_rank(path)


READERS = (
    FileReader("config.json", config_seeds, read_model, 2),
    FileReader("model.safetensors", header_seeds, read_safetensors, 6),
    FileReader("model.safetensors.index.json", index_seeds, read_index, 6),
    FileReader("model.gguf", gguf_seeds, read_model, 6),
    FileReader("axolotl.yaml", training_seeds("yaml"), read_training),
    FileReader("torchtitan.toml", training_seeds("toml"), read_training),
    FileReader("deepspeed.json", training_seeds("json"), read_training),
    FileReader("megatron.args", megatron_seeds, read_megatron),
    FileReader("command.txt", command_seeds, read_pasted),
    FileReader("serve.yaml", manifest_seeds, read_pasted),
    FileReader("serve.sh", script_seeds, read_pasted),
    FileReader("measured.csv", table_seeds, read_measured),
    FileReader("measured.jsonl", record_seeds, read_measured),
    FileReader("run.trace", trace_seeds, read_recording, packed=True),
    FileReader("prices.csv", price_seeds, read_price_table, 6),
    FileReader("config.toml", settings_seeds, read_defaults, 6),
    FileReader("answer.json", answer_seeds, read_saved),
    FileReader("workload.csv", workload_seeds, read_requests, 6),
    FileReader("engine.log", log_seeds, read_engine_log, 2),
    FileReader("snapshot.pickle", snapshot_seeds, read_allocations, 6),
    FileReader("oom.txt", oom_seeds, read_failure, 6),
    FileReader("hub.json", hub_seeds, read_hub_answer, 6),
    FileReader("pattern.txt", pattern_seeds, read_pattern, 6),
    FileReader("journal.jsonl", journal_seeds, read_watched, 4),
)


def meant(error: Exception) -> str:
    """What is wrong with an error as the answer to an input; "" if it was meant."""
    if not isinstance(error, OomlessError):
        return f"{type(error).__name__}: {error}"
    return "" if 0 < len(str(error)) < 5_000 else f"a message of {len(str(error)):,} characters"
