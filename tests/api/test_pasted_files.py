"""Scripts, Compose files, Kubernetes objects and YAML of flags mean what their engine is started with."""

import json
from pathlib import Path
from typing import Any

import pytest

from command import call
from oomless.engines.command_line import files_of, read_command
from oomless.errors import OomlessError
from oomless.web.question import reply

MODEL = "deepseek-ai/DeepSeek-R1"
COMPOSE = f"""
services:
  web:
    image: ghcr.io/open-webui/open-webui:main
  llm:
    image: vllm/vllm-openai:v0.11.0
    environment:
      - VLLM_LOGGING_LEVEL=INFO
    command: >
      --model {MODEL}
      --tensor-parallel-size ${{TP:-8}} --max-model-len 32768
    deploy:
      resources:
        reservations:
          devices:
            - driver: nvidia
              count: 8
              capabilities: [gpu]
"""
LEADER = f"""
apiVersion: leaderworkerset.x-k8s.io/v1
kind: LeaderWorkerSet
spec:
  leaderWorkerTemplate:
    size: 2
    workerTemplate:
      spec:
        containers:
          - image: docker.io/vllm/vllm-openai:v0.10.0
            command: [sh, -c, "multi-node-serving.sh worker --ray_address=$(LWS_LEADER_ADDRESS)"]
    leaderTemplate:
      spec:
        nodeSelector:
          nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3
        containers:
          - image: docker.io/vllm/vllm-openai:v0.10.0
            command:
              - sh
              - -c
              - "multi-node-serving.sh leader --ray_cluster_size=$(LWS_GROUP_SIZE);
                 vllm serve {MODEL} --tensor-parallel-size 8 --pipeline-parallel-size $(LWS_GROUP_SIZE)"
            resources:
              limits:
                nvidia.com/gpu: "8"
"""
DEPLOYMENT = f"""
apiVersion: v1
kind: PersistentVolumeClaim
---
apiVersion: apps/v1
kind: Deployment
spec:
  template:
    spec:
      containers:
        - image: lmsysorg/sglang:v0.5.3
          command: ["python3", "-m", "sglang.launch_server"]
          args: ["--model-path", "{MODEL}", "--tp", "$(TP)", "--mem-fraction-static", "0.85"]
          env:
            - name: TP
              value: "8"
          resources:
            limits: {{nvidia.com/gpu: 8}}
"""
KSERVE = """
kubectl apply -f - <<EOF
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
spec:
  predictor:
    model:
      modelFormat: {name: huggingface}
      args: [--model_name=q, --model_id=Qwen/Qwen3-8B, --max-model-len=8192]
      resources: {limits: {nvidia.com/gpu: "1"}}
EOF
"""
PRODUCTION_STACK = """
servingEngineSpec:
  modelSpec:
  - name: q
    repository: vllm/vllm-openai
    tag: v0.11.0
    modelURL: Qwen/Qwen3-8B
    requestGPU: 2
    vllmConfig:
      enableChunkedPrefill: true
      maxModelLen: 16384
      tensorParallelSize: 2
      gpuMemoryUtilization: 0.85
      extraArgs: ["--kv-cache-dtype", fp8]
"""
LLM_D = """
modelArtifacts: {name: Qwen/Qwen3-8B, uri: "hf://Qwen/Qwen3-8B"}
decode:
  parallelism: {tensor: 4}
  containers:
  - image: ghcr.io/llm-d/llm-d-dev:v0.2.0
    modelCommand: vllmServe
    args: [--enforce-eager, --max-model-len=32768]
prefill: {create: false}
"""


def answered(command: str, *words: str, gpu: str = "") -> dict[str, Any]:
    cards = ("--gpu", gpu) if gpu else ()
    found = call("infer", *words, *cards, "--command", command, "--offline", "--json")
    assert found.code in (0, 3), found.err
    answer: dict[str, Any] = json.loads(found.out)
    return answer


def refused(command: str) -> str:
    found = call("infer", "--gpu", "h200:8", "--command", command, "--offline", "--json")
    assert found.code in (1, 2), found.out
    error: dict[str, str] = json.loads(found.err)["error"]
    return f"{error['message']} {error['hint']}"


@pytest.mark.parametrize(
    ("text", "gpu", "same", "cards"),
    [
        (COMPOSE, "h200", f"vllm serve {MODEL} -tp 8 --max-model-len 32768", "h200:8"),
        (LEADER, "", f"vllm serve {MODEL} -tp 8 -pp 2", "h100:8x2"),
        (LEADER, "h100", f"vllm serve {MODEL} -tp 8 -pp 2", "h100:8x2"),
        (
            DEPLOYMENT,
            "h200",
            f"sglang serve --model-path {MODEL} --tp 8 --mem-fraction-static 0.85",
            "h200:8",
        ),
        (KSERVE, "a100-80gb", "vllm serve Qwen/Qwen3-8B -tp 1 --max-model-len 8192", "a100-80gb"),
    ],
)
def test_a_container_is_the_command_that_it_starts(text: str, gpu: str, same: str, cards: str) -> None:
    found = answered(text, gpu=gpu)
    version = found["request"]["engine_version"]
    plain = answered(same, "--engine-version", version, gpu=cards)
    assert found["ranks"] == plain["ranks"]
    assert found["request"]["gpu"]["num_gpus"] == plain["request"]["gpu"]["num_gpus"]
    assert not [note for note in found["warnings"] if note.startswith("flags not known")]


def test_the_image_says_the_release() -> None:
    assert (
        answered(COMPOSE, gpu="h200")["request"]["engine_version"] == "0.11.0 (FlashInfer)"
    )  # its image has it
    assert answered(DEPLOYMENT, gpu="h200")["request"]["engine_version"] == "0.5.3"


def test_cards_that_are_given_come_before_those_of_the_container() -> None:
    assert answered(COMPOSE, gpu="h20-141gb:8")["request"]["gpu"]["num_gpus"] == 8


SERVE = """
model: deepseek-ai/DeepSeek-V3.2
tensor-parallel-size: 8
max_model_len: 32K
enable-expert-parallel: true
enforce-eager: false
port: 8000
compilation-config:
  cudagraph_capture_sizes: [1, 2, 4]
"""


def test_the_flags_of_a_file_are_those_of_the_line(tmp_path: Path) -> None:
    (tmp_path / "serve.yaml").write_text(SERVE)
    found = read_command(f"vllm serve --max-model-len 16K --config {tmp_path}/serve.yaml")
    typed = read_command(
        "vllm serve deepseek-ai/DeepSeek-V3.2 -tp 8 --max-model-len 16K --enable-expert-parallel "
        "--compilation-config '{\"cudagraph_capture_sizes\": [1, 2, 4]}'"
    )
    assert found.model == typed.model
    assert found.flags == {**typed.flags, "enforce_eager": False}
    assert (found.ignored, found.unknown) == (("--port 8000",), ())
    other = read_command(f"vllm serve Qwen/Qwen3-8B --config={tmp_path}/serve.yaml")
    assert other.model == "Qwen/Qwen3-8B"  # the model that is typed wins


def test_what_a_script_writes_need_not_be_here() -> None:
    found = read_command(f"cat <<EOF > s.yaml{SERVE}EOF\npython3 -m vllm.entrypoints.x --config s.yaml")
    assert (found.model, found.flags["tp"]) == ("deepseek-ai/DeepSeek-V3.2", 8)
    sglang = read_command(
        "cat > c.yaml <<'EOF'\ntp-size: 8\nmem-fraction-static: 0.8\ntrust-remote-code: true\nEOF\n"
        "python -m sglang.launch_server --model m --config c.yaml --tp 4"
    )
    assert (sglang.flags, sglang.unknown) == ({"tp": 4, "mem_fraction_static": 0.8}, ())


def test_the_file_of_trtllm_wins_and_has_keys_of_keys() -> None:
    found = read_command(
        "cat > extra.yml <<EOF\nkv_cache_config:\n  free_gpu_memory_fraction: 0.8\n  dtype: fp8\n"
        "max_batch_size: 32\nenable_attention_dp: true\nprint_iter_log: true\nEOF\n"
        "trtllm-serve org/m --tp_size 8 --ep_size 8 --max_batch_size 64 --extra_llm_api_options extra.yml"
    )
    assert found.flags == {
        "tp": 8,
        "ep_size": 8,
        "max_num_seqs": 32,
        "free_gpu_memory_fraction": 0.8,
        "kv_cache_dtype": "fp8",
        "enable_dp_attention": True,
    }
    assert not found.unknown


SCRIPT = """#!/bin/bash
set -e
MODEL=Qwen/Qwen3-8B   # what is served
export CUDA_VISIBLE_DEVICES=2,3
pip install vllm && sleep 1
vllm serve $MODEL \\
  --tensor-parallel-size ${TP:-2} \\
  # as long as needed
  --max-model-len 8192 > server.log 2>&1 &
curl localhost:8000
"""


def test_a_script_is_the_command_in_it(tmp_path: Path) -> None:
    (tmp_path / "serve.sh").write_text(SCRIPT)
    for text in (SCRIPT, f"@{tmp_path}/serve.sh"):
        found = read_command(text)
        assert (found.model, found.visible) == ("Qwen/Qwen3-8B", 2)
        assert (found.flags, found.unknown) == ({"tp": 2, "max_model_len": 8192}, ())
    assert answered(SCRIPT, gpu="h100")["request"]["gpu"]["num_gpus"] == 2


@pytest.mark.parametrize(
    "text",
    [
        'docker run --gpus all vllm/vllm-openai:v0.11.0 bash -c "cd /m && vllm serve m -tp 2"',
        "docker run --gpus all --entrypoint vllm vllm/vllm-openai:v0.11.0 serve m -tp 2",
        "docker run --gpus all --entrypoint=vllm docker.io/vllm/vllm-openai:v0.11.0 serve m -tp 2 | tee log",
    ],
)
def test_what_a_container_runs_in_place_of_its_own(text: str) -> None:
    found = read_command(text)
    if "bash" not in text:
        assert found.flags == {"engine_version": "0.11.0", "tp": 2}
    assert (found.engine, found.unknown) == ("vllm", ())


def test_one_of_several_is_answered_and_said() -> None:
    pair = "vllm serve Qwen/Qwen3-8B --port 1 &\nvllm serve Qwen/Qwen3-14B --port 2 &"
    found = answered(pair, gpu="h100")
    assert found["model"]["name"] == "qwen3-8b"
    assert "2 commands start an engine: the first one is answered" in found["warnings"]


def test_what_is_missing_is_said() -> None:
    assert "$MODEL has no value" in refused("vllm serve $MODEL -tp 8")
    assert "nope.yaml: not on this machine" in refused("vllm serve --config nope.yaml")
    assert "not on this machine" in refused("@nope.yaml")
    assert "several files" in refused("vllm serve m --config a.yaml --config b.yaml")
    assert "no YAML file" in refused("vllm serve m --config serve.toml")
    assert "starts no engine" in refused("services:\n  a:\n    image: postgres\n")
    bomb = "A=xxxxxxxxxx\n" + "\n".join(f"A={'$A' * 99}" for _ in range(99)) + "\nvllm serve $A"
    refused(bomb)
    with pytest.raises(OomlessError):
        read_command("a=1\n" * 2_000 + "vllm serve m")


def test_no_file_of_the_machine_that_answers_is_opened(tmp_path: Path) -> None:
    (tmp_path / "serve.yaml").write_text(SERVE)
    path = f"{tmp_path}/serve.yaml"
    assert files_of(f"@{path}") == (path,)
    assert files_of(f"vllm serve --config {path}") == (path,)
    for command in (f"@{path}", f"vllm serve --config {path}", f"vllm serve {tmp_path}"):
        answer = reply("infer", [("command", command), ("gpu", "h200:8")])
        assert (answer.status, b"no file of this machine is read here" in answer.content) == (400, True)
    away = json.loads(reply("infer", [("command", "vllm serve /m/R1"), ("gpu", "h200:8")]).content)["error"]
    assert (away["message"], away["hint"]) == (
        "/m/R1: not on this machine",
        "name MODEL beside it: its shape is taken; deepseek-r1 is one of that name",
    )
    named = reply(
        "infer", [("command", "llama-server -m /m/Qwen3-8B-Q8_0.gguf -c 8192"), ("gpu", "rtx-4090")]
    )
    assert named.status == 200


def test_values_of_charts_are_the_commands_that_they_make() -> None:
    """helm/templates/deployment-vllm-multi.yaml of the production stack, _helpers.tpl of llm-d's model
    service."""
    stack = answered(PRODUCTION_STACK, gpu="h100:8")["request"]
    command = (
        "vllm serve Qwen/Qwen3-8B --enable-chunked-prefill --no-enable-prefix-caching --max-model-len 16384 "
        "--tensor-parallel-size 2 --gpu-memory-utilization 0.85 --kv-cache-dtype fp8"
    )
    plain = answered(command, "--engine-version", "0.11.0 (FlashInfer)", gpu="h100:2")["request"]
    assert stack | {"gpu": ""} == plain | {"gpu": ""}
    service = answered(LLM_D, gpu="h100:8")["request"]
    assert (service["layout"]["tp"], service["enforce_eager"], service["max_model_len"]) == (4, True, 32768)
    assert refused("servingEngineSpec:\n  modelSpec: []\n")


@pytest.mark.parametrize(
    ("word", "served"),
    [
        ("unsloth/DeepSeek-R1-Distill-Qwen-7B-GGUF:Q4_K_M", "llamacpp deepseek-r1-distill-qwen-7b Q4_K_M"),
        (
            "hf.co/unsloth/DeepSeek-R1-Distill-Qwen-7B-GGUF:Q4_K_M",
            "llamacpp deepseek-r1-distill-qwen-7b Q4_K_M",
        ),
        ("deepseek-r1-distill-qwen-7b-q4_k_m", "llamacpp deepseek-r1-distill-qwen-7b Q4_K_M"),
        ("/models/DeepSeek-R1-UD-Q2_K_XL-00001-of-00005.gguf", "llamacpp deepseek-r1 UD-Q2_K_XL"),
        ("deepseek-r1:32b-qwen-distill-q8_0", "ollama deepseek-r1-distill-qwen-32b Q8_0"),
    ],
)
def test_model_is_called_as_its_engine_calls_it(word: str, served: str) -> None:
    """What -hf, Ollama and makers of files write was an unknown model."""
    found = call("infer", word, "--gpu", "h200:8", "--json")
    answer = json.loads(found.out)
    request = answer["request"]
    assert f"{request['engine']} {answer['model']['name']} {request['quantization']}" == served
    assert any(word in note for note in answer["warnings"])
    assert call("infer", word, "--gpu", "h200:8", "--engine", "vllm", "--tp", "8").code in (0, 1, 2, 3, 4)


@pytest.mark.parametrize("word", ["my-own-q4_k_m", "org/none-GGUF:Q4_K_M", "qwen3-8b:", "a:b:c", ":q4_0"])
def test_other_words_stay_unknown(word: str) -> None:
    assert call("infer", word, "--gpu", "h200").code in (1, 2)


def test_tune_reads_the_name_of_a_file_too() -> None:
    answer = json.loads(call("tune", "Qwen/Qwen3-8B-GGUF:Q4_K_M", "--gpu", "rtx-4090", "--json").out)
    named = json.loads(
        call(
            "tune",
            "qwen3-8b",
            "--engine",
            "llamacpp",
            "--quantization",
            "Q4_K_M",
            "--gpu",
            "rtx-4090",
            "--json",
        ).out
    )
    assert answer["rows"] == named["rows"]
