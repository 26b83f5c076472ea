"""Commands as recipes have them: what they start is what is answered, and what is not known is said."""

import json
import shlex
from typing import Any

import pytest

from command import call
from oomless.report.messages import in_chinese, is_english


def pasted(command: str, *words: str, gpu: str = "rtx-4090:1") -> dict[str, Any]:
    found = call("infer", *words, "--gpu", gpu, "--command", command, "--json")
    assert found.code in (0, 3), found.err
    answer: dict[str, Any] = json.loads(found.out)
    return answer


def refused(command: str, *words: str, gpu: str = "rtx-4090:1") -> str:
    found = call("infer", *words, "--gpu", gpu, "--command", command, "--json")
    assert found.code in (1, 2, 4)
    assert not found.out
    error: dict[str, str] = json.loads(found.err)["error"]
    return f"{error['message']} {error['hint']}"


FILES = {
    "DeepSeek-R1-Distill-Qwen-32B-Q4_K_M.gguf": ("deepseek-r1-distill-qwen-32b", "Q4_K_M"),
    "/models/DeepSeek-R1-Distill-Qwen-7B-Q8_0.gguf": ("deepseek-r1-distill-qwen-7b", "Q8_0"),
    "R1/DeepSeek-R1-UD-Q2_K_XL-00001-of-00005.gguf": ("deepseek-r1", "UD-Q2_K_XL"),
    "Qwen3-8B-BF16.gguf": ("qwen3-8b", "BF16"),
    "~/gguf/Qwen2.5-7B-Instruct.i1-IQ4_XS.gguf": ("qwen2.5-7b-instruct", "I1-IQ4_XS"),
    "gpt-oss-20b-mxfp4.gguf": ("gpt-oss-20b", "MXFP4"),
    "Qwen3-8B-F16.gguf": ("qwen3-8b", "F16"),
}


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_is_not_here_is_read_by_its_name(file: str) -> None:
    model, kind = FILES[file]
    alone = pasted(f"llama-server -m {file} -c 8192 -np 1")
    beside = pasted(f"llama-server -m {file} -c 8192 -np 1", model)
    assert alone["model"]["name"] == beside["model"]["name"] == model
    assert alone["request"]["quantization"].upper() == kind
    assert alone["ranks"] == beside["ranks"]
    assert any("file's name" in note for note in alone["warnings"])


def test_what_a_name_does_not_say_is_asked_for() -> None:
    assert "name MODEL beside it" in refused("llama-server -m /m/my-own-tune.gguf")
    assert "deepseek-r1 is one of that name" in refused("vllm serve /m/DeepSeek-R1-v1/")
    assert "no type" in refused("llama-server -m /m/model.gguf", "qwen3-8b")
    said = pasted("llama-server -m /m/model.gguf -c 4096", "qwen3-8b", "--quantization", "q6_k")
    assert said["request"]["quantization"] == "q6_k"
    refused("llama-server -m DeepSeek-R1-0528-UD-Q9_K_XL.gguf")  # no type of that name


NAMES = {
    "someone/GLM-4.6-FP8-mine": "glm-4.6 --quantization fp8",
    "RedHatAI/Qwen3-235B-A22B-FP8-dynamic": "qwen3-235b-a22b --quantization fp8-dynamic",
    "cpatonn/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit": "qwen3-next-80b-a3b --quantization awq",
    "someone/DeepSeek-V3.1-BF16": """deepseek-v3.1 --hf-overrides '{"quantization_config": null}'""",
    "someone/Qwen3-8B-tuned": "qwen3-8b",
    "someone/gemma-3-27b-it-GPTQ-4b-128g": "gemma-3-27b --quantization gptq",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_repository_is_read_by_its_name_where_no_hub_answers(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    found = pasted(f"vllm serve {name} -tp 4", gpu="b200:4")
    model, *options = shlex.split(NAMES[name])
    beside = call("infer", model, *options, "--gpu", "b200:4", "--engine", "vllm", "--tp", "4", "--json")
    assert found["ranks"] == json.loads(beside.out)["ranks"]
    assert any(f"no hub answers: {name}" in note for note in found["warnings"])
    alone = call("infer", name, "--gpu", "b200:4", "--engine", "vllm", "--tp", "4", "--json")
    assert json.loads(alone.out)["ranks"] == found["ranks"]


def test_a_repository_of_gguf_files_is_read_by_its_name_where_no_hub_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    found = pasted("llama-server -hf bartowski/google_gemma-4-31B-it-GGUF:IQ4_XS -c 8192", gpu="rtx-3090")
    assert found["model"]["name"] == "gemma-4-31b"
    assert found["request"]["quantization"] == "BARTOWSKI-IQ4_XS"  # his mixes are not the rule's


@pytest.mark.parametrize("name", ["someone/Qwen3-9B-tuned", "some/thing-FP8", "a/Qwen3-8B-EAGLE3", "a/b"])
def test_a_name_that_does_not_say_a_shape_is_not_guessed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "cannot be reached" in refused(f"vllm serve {name} -tp 1")


FOLDERS = {
    "/m/deepseek-ai/DeepSeek-R1/": ("deepseek-r1", None),
    "./Qwen2.5-32B-Instruct": ("qwen2.5-32b-instruct", None),
    "~/.cache/huggingface/hub/models--Qwen--Qwen3-8B/snapshots/b968826d": ("qwen3-8b", None),
    "/m/Qwen3-14B-AWQ --quantization awq_marlin": ("qwen3-14b-awq", "awq"),
    "/m/Qwen3-Coder-30B-A3B-Instruct-AWQ --quantization awq_marlin": ("qwen3-30b-a3b-2507", "awq"),
    "/m/Qwen3-32B-FP8": ("qwen3-32b-fp8", None),
    "qwen3.8-27b-autoround-int4 --quantization auto_round": ("qwen3.8-27b", "auto-round"),
}


@pytest.mark.parametrize("words", FOLDERS)
def test_a_folder_that_is_called_as_a_repository_is_read_by_its_name(words: str) -> None:
    found = pasted(f"vllm serve {words} -tp 4", gpu="b200:4")
    assert (found["model"]["name"], found["request"]["quantization"]) == FOLDERS[words]
    assert any("is not on this machine: read by its name as" in note for note in found["warnings"])


def test_a_command_that_quantises_16_bit_is_held_to_what_it_loads() -> None:
    """135.4 GiB in 16 bit fit one H20 of 141 GB, copies in FP8 beside them do not (vllm#29196)."""
    command = "vllm serve Qwen/Qwen2.5-72B-Instruct --quantization fp8"
    found = {
        release: pasted(command, "--engine-version", release, gpu="h20-3e")
        for release in ("0.12.0", "0.13.0", "0.16.0")
    }
    assert [each["verdict"] for each in found.values()] == ["fits", "does_not_fit", "fits"]
    said = ("qwen2.5-72b-instruct", "--quantization", "fp8", "--engine", "vllm", "--tp", "1")
    beside = call("infer", *said, "--engine-version", "0.13.0", "--gpu", "h20-3e", "--json")
    assert json.loads(beside.out)["verdict"] == "fits"  # of a checkpoint that is published in FP8


def test_words_for_what_a_checkpoint_says_itself_need_no_other_name_beside_it() -> None:
    for command, *model in (
        ("vllm serve --quantization modelopt", "qwen3.6-35b-a3b-nvfp4"),
        ("vllm serve qwen3.6-35b-a3b-nvfp4 --quantization modelopt_fp4",),
        ("vllm serve qwen2.5-32b-awq --quantization awq_marlin",),
    ):
        assert pasted(f"{command} -tp 1", *model)["request"]["quantization"] in (None, "awq")


@pytest.mark.parametrize("place", ["/m/x", "./x", "someone/a-tune-of-it", "my-name"])
def test_model_beside_a_command_is_the_shape_of_what_nobody_knows(place: str) -> None:
    found = pasted(f"vllm serve {place} -tp 1 --max-model-len 4096", "qwen3-8b")
    assert found["model"]["name"] == "qwen3-8b"
    assert f"{place}: the shape of qwen3-8b is taken for it" in found["warnings"]


def test_two_models_that_are_known_contradict_each_other() -> None:
    assert "leave one of them out" in refused("vllm serve Qwen/Qwen3-8B", "qwen3-14b")
    assert pasted("vllm serve Qwen/Qwen3-8B --max-model-len 4096", "Qwen/Qwen3-8B", "--offline")


TAGS = {
    "deepseek-r1:7b": ("deepseek-r1-distill-qwen-7b", "Q4_K_M"),
    "deepseek-r1:8b": ("deepseek-r1-0528-qwen3-8b", "Q4_K_M"),
    "deepseek-r1": ("deepseek-r1-0528-qwen3-8b", "Q4_K_M"),
    "deepseek-r1:14b-qwen-distill-q8_0": ("deepseek-r1-distill-qwen-14b", "Q8_0"),
    "deepseek-r1:32b": ("deepseek-r1-distill-qwen-32b", "Q4_K_M"),
    "deepseek-r1:70b": ("deepseek-r1-distill-llama-70b", "Q4_K_M"),
    "deepseek-r1:671b": ("deepseek-r1-0528", "Q4_K_M"),
    "qwen3:8b": ("qwen3-8b", "Q4_K_M"),
    "gpt-oss:20b": ("gpt-oss-20b", "MXFP4"),
    "deepseek-coder-v2": ("deepseek-coder-v2-lite", "Q4_0"),
    "deepseek-coder-v2:236b": ("deepseek-coder-v2", "Q4_0"),
    "deepseek-coder:33b": ("deepseek-coder-33b", "Q4_0"),
    "llama3.1": ("llama-3.1-8b", "Q4_K_M"),
    "llama3.1:70b": ("llama-3.1-70b", "Q4_K_M"),
    "llama2:70b": ("llama-2-70b", "Q4_0"),
}


@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_of_ollama_says_model_and_type(tag: str) -> None:
    found = pasted(f"ollama run {tag}", gpu="h200:8")
    assert (found["model"]["name"], found["request"]["quantization"]) == TAGS[tag]
    assert found["request"]["engine"] == "ollama"


def test_a_checkpoint_in_16_bit_is_not_answered_as_the_published_one_in_fewer() -> None:
    """R1 in BF16 was said to fit eight H200, as its FP8."""
    for place in ("unsloth/DeepSeek-R1-BF16", "/models/deepseek-r1-bf16"):
        found = pasted(f"vllm serve {place} --tensor-parallel-size 8", "deepseek-r1", gpu="h200:8")
        assert found["verdict"] == "does_not_fit"
        assert found["ranks"][0]["by_category"]["weights"] > 140 * 2**30
    assert pasted("vllm serve org/Qwen3-8B-BF16", "qwen3-8b")["request"].get("hf_overrides") is None


def test_none_is_the_checkpoint_as_it_is() -> None:
    words = ("infer", "deepseek-r1", "--gpu", "h200:8", "--json")
    assert call(*words, "--quantization", "none").out == call(*words).out
    wide = call(*words, "--quantization", "bf16")
    assert (wide.code, "--hf-overrides" in wide.err) == (4, True)


def test_a_misspelt_flag_is_asked_back() -> None:
    """vLLM refuses it; the answer of one rank was all that came of it."""
    found = pasted("vllm serve qwen/qwen3-8b --tensor-paralel-size 2 --no-such-flag 3", gpu="h100:2")
    named = next(note for note in found["warnings"] if note.startswith("flags not known"))
    assert named.endswith(
        ": --tensor-paralel-size 2 (did you mean --tensor-parallel-size?), --no-such-flag 3"
    )
    assert not is_english(in_chinese(named))


def test_variables_of_ollama_are_its_flags() -> None:
    found = pasted(
        "docker run -d -e OLLAMA_CONTEXT_LENGTH=16384 -e OLLAMA_KV_CACHE_TYPE=q8_0 ollama run qwen3:8b 'why?'"
    )
    request = found["request"]
    assert (request["max_model_len"], request["cache_type_k"], request["cache_type_v"]) == (
        16384,
        "q8_0",
        "q8_0",
    )
    served = pasted("LLAMA_ARG_N_CPU_MOE=12 ollama run qwen3:30b")["request"]
    assert (served["n_cpu_moe"], served["override_tensor"]) == (12, None)
    assert "qwen9:8b" in refused("ollama run qwen9:8b")


def test_ollama_holds_what_its_tags_hold() -> None:
    plain, asked = (
        json.loads(call("infer", *words, "--gpu", "rtx-4090", "--engine", "ollama", "--json").out)
        for words in (("qwen3-8b",), ("qwen3-8b", "--quantization", "Q4_K_M"))
    )
    assert plain["ranks"] == asked["ranks"]
    assert any("Q4_K_M" in note for note in plain["warnings"])
    stays = json.loads(call("infer", "gpt-oss-20b", "--gpu", "h100", "--engine", "ollama", "--json").out)
    assert stays["request"]["quantization"] == "MXFP4"


VLLM = "vllm serve Qwen/Qwen3-8B -tp 1 --max-model-len 32768"


def runtime(flags: str) -> int:
    ranks = pasted(f"{VLLM} {flags}", gpu="h100")["ranks"]
    return int(ranks[0]["by_category"]["runtime"])


def test_the_pool_is_what_the_command_says() -> None:
    gib = 1 << 30
    assert pasted(f"{VLLM} --kv-cache-memory-bytes 20G", gpu="h100")["kv_cache"]["pool_bytes"] == 20 * gib
    blocks = pasted(f"{VLLM} --num-gpu-blocks-override 5000", gpu="h100")["kv_cache"]
    assert blocks["max_tokens"] == 5000 * 16
    too_much = pasted(f"{VLLM} --kv-cache-memory-bytes 90G", gpu="h100")
    assert (too_much["starts"], too_much["verdict"]) == (False, "does_not_fit")


def test_parts_of_other_flags_are_read() -> None:
    image = """--mm-processor-kwargs '{"min_pixels": 784, "max_pixels": 1003520}'"""
    assert pasted(f"{VLLM} {image}", gpu="h100")["request"]["max_pixels"] == 1003520
    server = "sglang serve --model-path Qwen/Qwen3.8-27B --cuda-graph-backend-prefill"
    for said, off in (("disabled", True), ("breakable", False)):
        found = pasted(f"{server} {said}", gpu="h100")["request"]
        assert found["disable_prefill_cuda_graph"] is off


def test_few_graphs_hold_less_than_many_and_none_least() -> None:
    usual = runtime("")
    few = runtime("""--compilation-config '{"cudagraph_capture_sizes": [1, 2, 4]}'""")
    assert few == runtime("--cudagraph-capture-sizes 1 2 4") == runtime("-O.cudagraph_capture_sizes=[1,2,4]")
    assert runtime("-O0") == runtime("--enforce-eager") < few < runtime("--max-cudagraph-capture-size 64")
    assert runtime("-cc.cudagraph_mode=FULL_DECODE_ONLY") < usual
    assert runtime("--enforce-eager=False") == runtime("-O3") == usual
    assert runtime("""--compilation-config '{"level": 0}'""") == runtime("-O.cudagraph_mode=NONE")
    for wrong in ("-O.cudagraph_mode=SOME", "--cudagraph-capture-sizes a", "--compilation-config '[1'"):
        refused(f"{VLLM} {wrong}", gpu="h100")


@pytest.mark.parametrize("off", ["--no-enable-chunked-prefill", "--enable-chunked-prefill=False"])
def test_without_chunks_the_profile_run_reads_the_longest_prompt(off: str) -> None:
    usual, whole = (pasted(f"{VLLM} {flag}", gpu="rtx-4090")["request"] for flag in ("", off))
    assert (usual["max_num_batched_tokens"], whole["max_num_batched_tokens"]) == (2048, 32768)
    assert "raise it" in refused(f"{VLLM} {off} --max-num-batched-tokens 4096", gpu="h100")


def test_words_of_others_are_read_or_named() -> None:
    found = pasted(
        "vllm serve deepseek-ai/DeepSeek-V3.2 -tp 8 --attention_config.indexer_kv_dtype=mxfp4 "
        '--limit-mm-per-prompt.video 0 --kv-transfer-config \'{"kv_connector": "LMCacheConnectorV1"}\'',
        gpu="b200:8",
    )
    assert found["request"]["indexer_kv_dtype"] == "mxfp4"
    named = next(note for note in found["warnings"] if note.startswith("flags not known"))
    assert "--kv-transfer-config" in named
    assert any(note.startswith("--limit-mm-per-prompt does nothing") for note in found["warnings"])


def test_a_command_without_videos_profiles_images_alone() -> None:
    """The recipe of Qwen3-VL: its longest video would be kept with the time of each frame."""
    image = "docker run vllm/vllm-openai:v0.11.0"
    start = f"{image} --model Qwen/Qwen3-VL-30B-A3B-Instruct --max-model-len 65536"
    usual, without = (pasted(f"{start} {flag}", gpu="h100") for flag in ("", "--limit-mm-per-prompt.video 0"))
    assert without["ranks"][0]["total_bytes"] < usual["ranks"][0]["total_bytes"]
    assert not any("flags not known" in note for note in without["warnings"])


def test_engram_lies_where_its_config_says() -> None:
    start = "vllm serve deepseek-ai/DeepSeek-V4.1-Flash -tp 4 --disable-uvicorn-access-log"
    cards, host = (
        pasted(f"{start} {flag}", gpu="gb200:4")
        for flag in ("--engram-config '{\"cpu_offload\": false}'", "--engram-config.cpu_offload true")
    )
    assert [each["request"]["engram"] for each in (cards, host)] == ["gpu", "host"]
    assert cards["host"]["ram_bytes"] < host["host"]["ram_bytes"]
    assert not any(note.startswith("flags not known") for note in cards["warnings"])


def test_the_second_pool_of_sglang_is_host_memory() -> None:
    start = "python -m sglang.launch_server --model-path deepseek-ai/DeepSeek-R1 --tp 8"
    plain, tiered, sized = (
        pasted(f"{start} {flags}", gpu="h200:8")
        for flags in (
            "",
            "--enable-hierarchical-cache --hicache-ratio 2",
            "--enable-hierarchical-cache --hicache-size 30",
        )
    )
    pools = 8 * plain["kv_cache"]["pool_bytes"]
    host = tiered["host"]["ram_bytes"] - plain["host"]["ram_bytes"]
    assert 1.9 * pools < host < 2.1 * pools
    assert sized["host"]["ram_bytes"] - plain["host"]["ram_bytes"] == 8 * 30 * 10**9


def test_a_command_starts_one_server() -> None:
    half = pasted("CUDA_VISIBLE_DEVICES=0,1,2,3 vllm serve Qwen/Qwen3-32B -tp 4", gpu="h200:8")
    assert half["request"]["gpu"]["num_gpus"] == sum(rank["num_ranks"] for rank in half["ranks"]) == 4
    alone = pasted("docker run --gpus all vllm/vllm-openai:v0.19.0 --model Qwen/Qwen3-8B", gpu="h200:8")
    assert alone["request"]["gpu"]["num_gpus"] == 1
    assert "4 ranks" in refused("CUDA_VISIBLE_DEVICES=0,1 vllm serve Qwen/Qwen3-32B -tp 4", gpu="h200:8")
    nodes = pasted("vllm serve deepseek-ai/DeepSeek-R1 -tp 8 -pp 2", gpu="h200:8x4")
    assert nodes["request"]["gpu"]["num_gpus"] == 16


def test_a_command_of_vllm_on_an_npu_is_its_own_engines() -> None:
    start = "vllm serve vllm-ascend/DeepSeek-V3.2-W8A8 --quantization ascend -tp 16"
    found = pasted(start, "deepseek-v3.2", gpu="ascend-910b:16")
    assert (found["request"]["engine"], found["request"]["quantization"]) == ("vllm-ascend", "w8a8")
    assert "w8a8" in refused("vllm serve /m/x --quantization ascend -tp 2", "qwen3-8b", gpu="ascend-910b:16")


def test_a_stage_whose_layers_share_the_cache_of_others_is_answered() -> None:
    found = call("infer", "gemma-4-e2b", "--gpu", "80GiB:8", "--pp", "8", "--engine-version", "0.7.2")
    assert found.code in (0, 3), found.err


FORMS = {
    "novita/Deepseek-R1-0528-W4AFP8": ("", "w4afp8"),
    "cognitivecomputations/DeepSeek-R1-AWQ": ("--quantization awq_marlin", "awq"),
    "meituan/DeepSeek-R1-Channel-INT8": ("--quantization w8a8_int8", "w8a8"),
    "nvidia/DeepSeek-R1-FP4": ("--quantization modelopt", "nvfp4"),
    "/m/DeepSeek-R1-int4": ("--quantization compressed-tensors", "w4a16"),
    "/m/DeepSeek-R1": ("", None),
}


@pytest.mark.parametrize("name", ["nvidia/DeepSeek-R1-0528-FP4-v2", "nvidia/Qwen3-235B-A22B-NVFP4"])
def test_a_published_checkpoint_is_no_other_by_the_word_of_its_maker(name: str) -> None:
    start = f"vllm serve {name} -tp 4"
    plain, said = (pasted(f"{start} {flag}", gpu="b200:4") for flag in ("", "--quantization modelopt_fp4"))
    assert plain["ranks"] == said["ranks"]


@pytest.mark.parametrize("place", FORMS)
def test_the_name_of_a_checkpoint_says_its_form_where_another_shape_stands_for_it(place: str) -> None:
    flags, form = FORMS[place]
    start = f"python -m sglang.launch_server --model-path {place} --tp 8 {flags}"
    found = pasted(start, "deepseek-r1", gpu="b200:8" if form == "nvfp4" else "h200:8")
    assert found["request"]["quantization"] == form


def test_a_form_that_nobody_says_is_asked_for() -> None:
    start = "python -m sglang.launch_server --model-path /m/x --tp 8 --quantization modelopt"
    assert "--quantization w8a8" in refused(start, "deepseek-r1", gpu="h200:8")


def test_w4afp8_is_4_bits_of_the_experts_alone() -> None:
    start = "python -m sglang.launch_server --model-path deepseek-ai/DeepSeek-R1 --tp 8"
    fp8, w4 = (
        {line["key"]: line["bytes"] for line in pasted(f"{start} {flag}", gpu="h200:8")["ranks"][0]["lines"]}
        for flag in ("", "--quantization w4afp8")
    )
    per_weight = 0.5 + 2 / 128  # SGLang's w4afp8.py: 4 bits, a scale in BF16 for 128 columns
    fp8_per_weight = 1 + 4 / 128**2
    ratio = w4["weights.routed_experts"] / fp8["weights.routed_experts"]
    assert abs(ratio - per_weight / fp8_per_weight) < 1e-4
    others = {key for key in w4 if key.startswith("weights.")} - {"weights.routed_experts"}
    assert len(others) > 1
    assert {key: w4[key] for key in others} == {key: fp8[key] for key in others}
    assert "no experts" in refused(
        "python -m sglang.launch_server --model-path Qwen/Qwen3-8B --quantization w4afp8", gpu="h100"
    )


def test_w4a8_is_4_bits_of_experts_and_8_of_all_else() -> None:
    start = "vllm serve vllm-ascend/DeepSeek-R1-0528-W4A8 --tensor-parallel-size 8 --enable-expert-parallel"
    found = pasted(start, "deepseek-r1-0528", gpu="ascend-910b:8")
    assert found["request"]["quantization"] == "w4a8"
    held = {line["key"]: line["bytes"] for line in found["ranks"][0]["lines"]}
    gate_up, down = 4096 * (7168 // 2 + 16), 7168 * (2048 // 2 + 16)  # of a row: scale, offset and bias
    assert held["weights.routed_experts"] == 58 * 32 * (gate_up + down)
    assert held["weights.shared_experts"] == 58 * (512 * (7168 + 4) + 7168 * (256 + 4))
    (kept,) = (line for line in found["ranks"][0]["lines"] if line["key"] == "weights.unquantized")
    assert kept["high_bytes"] > 58 * 32 * 3 * 2048 * 7168 // 256 * 8  # in groups of 256


def test_copies_of_experts_and_buffers_of_groups_on_ascend() -> None:
    """vllm_ascend/ascend_config.py of 0.11: sixteen copies are one expert more on each of sixteen ranks."""
    start = "vllm serve vllm-ascend/DeepSeek-R1-0528-W8A8 --quantization ascend -tp 8 -dp 2 -ep "
    copies = """ --additional-config '{"dynamic_eplb": true, "init_redundancy_expert": 16}'"""
    asked = ("--engine", "vllm-ascend", "--engine-version", "0.11.0")
    few, more = (
        {line["key"]: line["bytes"] for line in found["ranks"][0]["lines"]}
        for found in (
            pasted(command, *asked, gpu="ascend-910c:16")
            for command in (start, f"HCCL_BUFFSIZE=1024 {start}{copies}")
        )
    )
    assert more["weights.routed_experts"] * 16 == few["weights.routed_experts"] * 17
    assert more["runtime.non_torch"] - few["runtime.non_torch"] == 2 * 2 * 824 << 20


def test_modelslim_keeps_of_latents_what_its_recipes_say() -> None:
    """msmodelslim, lab_practice/deepseek_v3_2/deepseek_w8a8.yaml: kv_b_proj and matrices of the indexer."""
    start = "vllm serve vllm-ascend/DeepSeek-R1-0528-W8A8 --quantization ascend --tensor-parallel-size 8"
    found = pasted(start, gpu="ascend-910c:8")
    (kept,) = (line for line in found["ranks"][0]["lines"] if line["key"] == "weights.unquantized")
    assert kept["bytes"] == kept["high_bytes"] == 61 * 128 // 8 * 256 * 512
    start = start.replace("vllm serve", "sglang serve --model-path").replace("W8A8", "W4A8")
    start = start.replace("--quantization ascend", "--quantization modelslim --attention-backend ascend")
    found = pasted(start, gpu="ascend-910c:8")
    (kept,) = (line for line in found["ranks"][0]["lines"] if line["key"] == "weights.unquantized")
    assert kept["bytes"] == 61 * 128 // 8 * 256 * 512
    assert found["request"]["quantization"] == "w4a8"


def test_what_modelslim_made_of_a_checkpoint_in_16_bit_is_not_guessed() -> None:
    """It was answered in 16 bit (vllm-ascend#5689: 480B in W8A8 on 16 cards)."""
    for start in (
        "vllm serve Qwen/Qwen3-32B --quantization ascend",
        "vllm serve /data/Qwen3-32B -q ascend",
        "sglang serve --model-path Qwen/Qwen3-32B --quantization modelslim --attention-backend ascend",
    ):
        assert "the checkpoint's own files" in refused(start, gpu="ascend-910b:1")
        found = pasted(start, "--quantization", "w8a8", gpu="ascend-910b:1")
        assert found["request"]["quantization"] == "w8a8"


@pytest.mark.parametrize(("name", "left"), [("int4-AutoRound", False), ("int4-mixed-AutoRound", True)])
def test_autorounds_own_scheme_leaves_nothing_to_its_maker(name: str, left: bool) -> None:
    """Intel/gemma-4-31B-it-int4-AutoRound and six other published files: groups of 128, no layer kept."""
    found = pasted(f"vllm serve Intel/Qwen3-30B-A3B-Instruct-2507-{name}", gpu="rtx-5090")
    assert left == any(line["key"] == "weights.unquantized" for line in found["ranks"][0]["lines"])


def test_the_base_of_a_checkpoint_may_stand_beside_it() -> None:
    start = "vllm serve nvidia/Gemma-4-31B-IT-NVFP4"
    beside, alone = pasted(start, "gemma-4-31b"), pasted(start)
    assert (beside["request"]["quantization"], alone["model"]["name"]) == ("nvfp4", "gemma-4-31b-nvfp4")
    assert "leave one of them out" in refused(start, "gemma-4-26b-a4b")


def test_a_repository_without_a_tag_is_the_type_that_it_holds() -> None:
    found = pasted("llama-server -hf ggml-org/gpt-oss-20b-GGUF -c 8192")
    assert found["request"]["quantization"] == "MXFP4"


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("kt run deepseek-v4-flash", "--kt-num-gpu-experts"),
        ("docker run ghcr.io/huggingface/text-generation-inference:3.0 --model-id m", "vllm"),
    ],
)
def test_programs_that_are_not_known_have_one_that_is_near(command: str, hint: str) -> None:
    assert hint in refused(command)
    found = call("infer", "deepseek-r1", "--gpu", "h200:8", "--engine", "kt-kernel", "--json")
    assert "transformers?" not in found.err


def test_what_is_far_behind_the_nearest_name_is_not_suggested() -> None:
    found = call("infer", "deepsek-r1", "--gpu", "h200:8", "--json")
    assert "did you mean deepseek-r1?" in json.loads(found.err)["error"]["hint"]


@pytest.mark.parametrize(
    ("command", "model", "length"),
    [
        ("llama-server -m $HOME/m/Qwen3-8B-Q4_K_M.gguf -c 4096", "qwen3-8b", 4096),
        (
            "docker run --gpus all -v /m:/m -p 8080:8080 ghcr.io/ggml-org/llama.cpp:server-cuda "
            "-m /m/Qwen3-8B-Q4_K_M.gguf -c 4096",
            "qwen3-8b",
            4096,
        ),
        ("./main -m models/qwen3-8b-Q4_K_M.gguf -c 4096 -ngl 37", "qwen3-8b", 4096),
        ("FROM qwen3:8b\nPARAMETER num_ctx 4096\nPARAMETER temperature 0.2", "qwen3-8b", 4096),
        ("OLLAMA_CONTEXT_LENGTH=4096 ollama run gemma4:26b", "gemma-4-26b-a4b", 4096),
        ("OLLAMA_CONTEXT_LENGTH=4096 ollama run qwen3:30b-a3b-q4_K_M", "qwen3-30b-a3b", 4096),
    ],
)
def test_what_people_paste_at_home(command: str, model: str, length: int) -> None:
    found = pasted(command)
    assert (found["model"]["name"], found["request"]["max_model_len"]) == (model, length)


@pytest.mark.parametrize(
    ("command", "release"),
    [
        ("docker run --gpus=all -v ollama:/root/.ollama --name ollama ollama/ollama:0.6.2", "2025-03-17"),
        ("docker run --gpus=all ollama/ollama:0.5.7-rocm", "2025-01-16"),
        ("services:\n  ollama:\n    image: docker.io/ollama/ollama:0.12.6", "2025-10-16"),
        (
            "docker run ghcr.io/ggml-org/llama.cpp:server-cuda-b5200 -m /models/it-Q4_K_M.gguf -c 8192",
            "2025-04-22",
        ),
        ("docker run ghcr.io/ggml-org/llama.cpp:server-cuda -m /models/it-Q4_K_M.gguf -c 8192", "2026-08"),
    ],
)
def test_an_image_says_which_build_it_holds(command: str, release: str) -> None:
    assert pasted(command, "llama-3.1-8b")["request"]["engine_version"] == release


def test_a_server_of_ollama_and_what_it_serves_are_one_question() -> None:
    server = "docker run -d -e OLLAMA_CONTEXT_LENGTH=8192 -e OLLAMA_NUM_PARALLEL=2 ollama/ollama:0.12.6"
    for line in ("docker exec -it ollama ollama run llama3.1:8b", "ollama run llama3.1:8b 'why?'"):
        found = pasted(f"{server}\n{line}")
        request = found["request"]
        assert (found["model"]["name"], request["max_model_len"]) == ("llama-3.1-8b", 8192)
        assert (request["engine_version"], request["max_num_seqs"]) == ("2025-10-16", 2)
    assert pasted("OLLAMA_CONTEXT_LENGTH=8000 ollama serve", "qwq-32b")["request"]["max_model_len"] == 8000
    assert "--command: OLLAMA_CONTEXT_LENGTH is '8k'" in refused(
        "OLLAMA_CONTEXT_LENGTH=8k ollama serve", "qwq-32b"
    )


@pytest.mark.parametrize(("release", "slots"), [("0.1.48", 1), ("0.5.7", 4), ("0.9.0", 2), ("0.12.6", 1)])
def test_no_number_in_parallel_is_what_a_release_does_unasked(release: str, slots: int) -> None:
    for said in ("", "OLLAMA_NUM_PARALLEL=0 "):
        request = pasted(f"{said}ollama run llama3.1:8b", "--engine-version", release)["request"]
        assert (request["max_num_seqs"], request["concurrency"]) == (slots, 1)


def test_a_modelfile_says_layers_and_a_dockerfile_is_none() -> None:
    layers = pasted("FROM qwen3:8b\nPARAMETER num_gpu 20\nPARAMETER num_ctx 4096")
    assert layers["request"]["n_gpu_layers"] == 20
    assert "starts no engine" in refused("FROM python:3.12\nRUN pip install x")


def test_a_mac_gives_its_gpu_what_sysctl_says() -> None:
    serve = "llama-server -m Qwen3-235B-A22B-Q3_K_M-00001-of-00003.gguf -c 32768 -ngl 99 -fa on"
    raised = pasted(f"sudo sysctl iogpu.wired_limit_mb=122880 && {serve}", gpu="m4-max-128gb")
    said = pasted(serve, gpu="m4-max-128gb@120GiB")
    plain = pasted(serve, gpu="m4-max-128gb")
    assert raised["ranks"] == said["ranks"]
    assert (raised["verdict"], plain["verdict"]) == ("fits", "does_not_fit")
    for wrong in ("m4-max-128gb@200GiB", "rtx-4090@30GiB", "strix-halo@130GiB"):
        assert "write a part of it" in refused(serve, gpu=wrong)


def test_what_is_loaded_beside_a_model_is_kept_back() -> None:
    serve = "llama-server -m Qwen2.5-Coder-32B-Instruct-Q4_K_M.gguf -ngl 99 -fa on -c 16384"
    alone = pasted(serve, gpu="rtx-3090")
    small = pasted(f"{serve} -md Qwen2.5-Coder-0.5B-Instruct-Q8_0.gguf --draft-max 16", gpu="rtx-3090")
    large = pasted(f"{serve} -md qwen2.5-coder-7b-instruct-q8_0.gguf", gpu="rtx-3090")
    assert (alone["verdict"], large["verdict"]) == ("fits", "does_not_fit")
    assert small["headroom_bytes"] < alone["headroom_bytes"]
    assert any("which drafts" in note for note in small["warnings"])
    read = pasted(f"{serve} -md qwen2.5-coder-7b-instruct-q8_0.gguf -ngld 99", gpu="rtx-3090")
    assert (read["headroom_bytes"], read["warnings"]) == (large["headroom_bytes"], large["warnings"])
    on_host = pasted(f"{serve} -md qwen2.5-coder-7b-instruct-q8_0.gguf -ngld 0", gpu="rtx-3090")
    assert on_host["headroom_bytes"] == alone["headroom_bytes"]
    twice = [  # ik_llama.cpp kept the context that it had loaded the draft with (ik_llama.cpp#731)
        pasted(f"{serve} -md Qwen2.5-Coder-0.5B-Instruct-Q8_0.gguf", "--engine", "ik-llamacpp", *release)
        for release in (("--engine-version", "3860"), ("--engine-version", "4416"))
    ]
    assert twice[1]["headroom_bytes"] - twice[0]["headroom_bytes"] > 16384 * 24 * 2 * 256
    own = "llama-server -m DeepSeek-V4-Flash-0731-Q8_0.gguf -ncmoe 43 -md dspark-DeepSeek-V4-Flash-0731.gguf"
    assert any("5.06 GiB of each card" in note for note in pasted(own, gpu="rtx-3090:2")["warnings"])
    seeing = "llama-server -m Qwen3-VL-8B-Instruct-Q8_0.gguf -c 8192 -ngl 99"
    with_tower = pasted(f"{seeing} --mmproj mmproj-F16.gguf", gpu="rtx-4090")
    assert any("1.31 GiB of each card" in note for note in with_tower["warnings"])
    of_itself = [
        pasted(f"llama-server -hf unsloth/Qwen3.6-27B-GGUF -c 8192 {more}", gpu="rtx-4090")["warnings"]
        for more in ("", "--no-mmproj")
    ]
    assert [any("which -hf takes along" in note for note in notes) for notes in of_itself] == [True, False]
    unknown = pasted(f"{serve} --model-draft /m/my-own.gguf", gpu="rtx-3090")
    assert any("nothing is known of this draft" in note for note in unknown["warnings"])


def test_a_file_of_a_fine_tune_is_read_as_what_it_was_made_of() -> None:
    file = "Qwen3.6-35B-A3B-Uncensored-HauhauCS-MTP-Q4_K_M.gguf"
    found = pasted(f"llama-server -m /m/{file} -c 8192 -ngl 99", gpu="rtx-3090:2")
    assert found["model"]["name"] == "qwen3.6-35b-a3b"
    assert any(file in note for note in found["warnings"])


def test_builds_that_fit_without_the_tower_have_no_room_for_it() -> None:
    command = "llama-server -m Qwen3-VL-30B-A3B-Instruct-Q8_0.gguf --mmproj mmproj-F16.gguf"
    before, after = (
        pasted(command, "--engine-version", build, gpu="rtx-4090") for build in ("b7474", "2026-06")
    )
    assert before["verdict"] != "fits" == after["verdict"]
    alone = pasted(command.partition(" --mm")[0], "--engine-version", "b7474", gpu="rtx-4090")
    assert alone["verdict"] == "fits"


TYPED = "llama-server -m /m/Qwen3-8B-Q8_0.gguf --ctx-size 8192 -ngl 99"


@pytest.mark.parametrize(
    "printed",
    [
        TYPED.replace("--", "\u2014"),
        TYPED.replace("--", "\u2013"),
        TYPED.replace(" ", "\u00a0"),
        TYPED.replace(" --", "\u3000--"),
        TYPED.replace("8192", "\u201c8192\u201d"),
        TYPED + " \\",
        TYPED + " \\\n",
        TYPED.replace("llama-server", "llama-server.exe")
        .replace("/m/", "C:\\m\\")
        .replace(" -ngl", " ^\n  -ngl"),
        TYPED.replace("llama-server", ".\\llama-server.exe").replace(" --ctx", " `\r\n--ctx"),
    ],
)
def test_what_a_page_or_windows_made_of_a_command_is_read_as_it_was_typed(printed: str) -> None:
    typed, found = pasted(TYPED), pasted(printed)
    assert found["request"] == typed["request"]
    assert not [note for note in found["warnings"] if "not known" in note]


def test_what_a_page_leaves_to_be_filled_in_swallows_no_flag() -> None:
    command = (
        "python -m sglang.launch_server --model Qwen/Qwen3-8B --node-rank <node-rank> --cuda-graph-max-bs 8"
    )
    found = pasted(f"HF_TOKEN=<secret> {command}")
    assert found["request"]["cuda_graph_max_bs"] == 8
    assert not [note for note in found["warnings"] if "not known" in note]
    assert "'<tp>'" in refused("vllm serve Qwen/Qwen3-8B --tensor-parallel-size <tp>")


def test_flags_of_the_api_server_are_no_doubt_about_memory() -> None:
    flags = (
        "--disable-custom-all-reduce --hf-token --enable-reasoning --guided-decoding-backend xgrammar "
        "--override-generation-config '{}' --max-long-partial-prefills 2 --enable-log-requests"
    )
    found = pasted(f"vllm serve Qwen/Qwen3-8B --max-model-len 4096 {flags}")
    assert not [note for note in found["warnings"] if "not known" in note]


@pytest.mark.parametrize(("task", "pooling"), [("embed", True), ("generate", False)])
def test_a_task_says_whether_a_model_gives_text(task: str, pooling: bool) -> None:
    found = pasted(f"vllm serve --task {task} Qwen/Qwen3-8B --max-model-len 4096")
    assert found["request"]["pooling"] is pooling
    assert not any("not known" in note for note in found["warnings"])


def test_a_tag_of_ollama_as_model_is_what_ollama_runs() -> None:
    """16 GB hold the 14B of its library; in 16 bit under vLLM it is three times as much."""

    def asked(*words: str) -> dict[str, Any]:
        return dict(json.loads(call("infer", "deepseek-r1:14b", "--gpu", "rtx-4080", *words, "--json").out))

    found = asked()
    assert (found["request"]["engine"], found["request"]["quantization"]) == ("ollama", "Q4_K_M")
    assert found["verdict"] == "fits"
    assert asked("--engine", "vllm")["request"]["quantization"] is None
    assert asked("--quantization", "q8_0")["request"]["quantization"] == "q8_0"


@pytest.mark.parametrize(
    ("day", "more", "tokens"),
    [("2026-05", "", 4096), ("2026-05", "--no-mmproj-offload", 1024), ("2026-06-10", "", 1024)],
)
def test_a_tower_on_the_card_makes_a_micro_batch_of_a_batch(day: str, more: str, tokens: int) -> None:
    """ik_llama.cpp before #1918; club-3090#180: with -b 4096 the buffer is about 4 GB, out of memory at
    boot."""
    command = f"llama-server -m Qwen3.6-27B-IQ4_KS.gguf --mmproj mmproj-F16.gguf -ub 1024 -b 4096 {more}"
    words = ("qwen3.6-27b", "--engine", "ik-llamacpp", "--engine-version", day, "--context", "4096")
    request = pasted(command, *words)["request"]
    assert request["ubatch_size"] == tokens
    assert bool(request["reserve"]) == (not more)
