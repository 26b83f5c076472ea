"""A pasted command line means what the engine would take it to mean."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomless.engines.command_line import command_words, is_path, read_command
from oomless.engines.vllm.command_line import REMARKS
from oomless.errors import UnsupportedError, UsageError
from oomless.run.serving import Asked, Layout, serving_question
from oomless.run.shell_words import commands_in
from oomless.run.speculation import Speculation


def test_spellings_of_one_question_are_equal() -> None:
    long = read_command(
        "vllm serve m --tensor-parallel-size 8 --max-model-len 32768 --gpu-memory-utilization 0.9"
    )
    short = read_command(
        "CUDA_VISIBLE_DEVICES=0,1 python3 -m vllm.entrypoints.openai.api_server "
        "--model m -tp=8 --max_model_len 32K "
        "--gpu_memory_utilization=.9"
    )

    assert long.flags == short.flags == {"tp": 8, "max_model_len": 32768, "gpu_memory_utilization": 0.9}
    assert long.model == short.model == "m"


def test_harmless_and_unknown_flags_are_told_apart() -> None:
    found = read_command(
        "vllm serve m --port 8000 --enable-auto-tool-choice --kv-transfer-config '{\"a\": 1}' --new-thing"
    )

    assert found.ignored == ("--port 8000", "--enable-auto-tool-choice")
    assert found.unknown == ('--kv-transfer-config {"a": 1}', "--new-thing")


def test_argparse_takes_the_beginning_of_a_flag_where_no_other_begins_so() -> None:
    found = read_command("vllm serve m --tensor_parallel 2 --gpu-memory-util=0.8 --disable-custom --max 3")

    assert found.flags == {"tp": 2, "gpu_memory_utilization": 0.8}
    assert found.ignored == ("--disable-custom",)
    assert found.unknown[0].startswith("--max 3")
    assert not read_command("llama-server -m m.gguf --ctx 4096").flags  # its parser is its own


def test_lines_joined_by_backslashes_are_one_command() -> None:
    assert read_command("vllm serve m \\\n  -tp 2 \\\n  --enforce-eager").flags == {
        "tp": 2,
        "enforce_eager": True,
    }


def test_sglang_is_read_under_its_own_names() -> None:
    found = read_command(
        "docker run --gpus all lmsysorg/sglang:v0.5.3 python3 -m sglang.launch_server --model-path "
        "deepseek-ai/DeepSeek-R1 --tp 8 --dp-size 8 "
        "--enable-dp-attention --mem-fraction-static=0.85 --chunked-prefill-size 8K "
        "--speculative-algo EAGLE --port 30000 --nope 3"
    )

    assert (found.engine, found.model) == ("sglang", "deepseek-ai/DeepSeek-R1")
    assert found.flags == {
        "engine_version": "0.5.3",
        "tp": 8,
        "dp": 8,
        "enable_dp_attention": True,
        "mem_fraction_static": 0.85,
        "max_num_batched_tokens": 8000,
        "speculation": Speculation("EAGLE", 3),
    }
    assert (found.ignored, found.unknown) == (("--port 30000",), ("--nope 3",))


def test_the_context_of_llama_server_is_that_of_all_slots() -> None:
    apart, shared = (
        read_command(f"llama-server -hf a/b-GGUF:Q8_0 -c 32768 -np 4 {flag}") for flag in ("", "-kvu")
    )

    assert (
        apart.flags["context"] * apart.flags["concurrency"]
        == shared.flags["context"] * shared.flags["concurrency"]
        == 32768
    )
    assert (apart.flags["max_num_seqs"], shared.flags["max_num_seqs"]) == (4, 4)
    assert (apart.model, apart.flags["quantization"]) == ("a/b-GGUF", "Q8_0")


@pytest.mark.parametrize(
    ("said", "flags"),
    [
        ("-ngl auto", {}),
        ("-ngl all", {"n_gpu_layers": 9999}),
        ("-fit off -fitt 512", {"fit": False, "fit_target": 512}),
        ("-ngl 20", {"n_gpu_layers": 20}),
        ("-fa", {"flash_attn": True}),
        ("-fa -c 0", {"flash_attn": True, "max_model_len": 0}),
        ("-fa auto -np -1", {"flash_attn": True}),
        ("-fa 0", {"flash_attn": False}),
        ("--no-flash-attn", {"flash_attn": False}),
        ("-b 256", {"ubatch_size": 256}),
        ("-b 2048 -ub 1024", {"ubatch_size": 1024}),
        ("-ot exps=CPU -ts 3,1", {"override_tensor": "exps=CPU", "tensor_split": "3,1"}),
        ("-ot blk.3.=CUDA1 -ot exps=CPU", {"override_tensor": "blk.3.=CUDA1,exps=CPU"}),
        ("-ncmoe 9 -cmoe", {"n_cpu_moe": 9, "cpu_moe": True}),
    ],
)
def test_words_of_llama_server(said: str, flags: dict[str, object]) -> None:
    found = read_command(f"/opt/bin/llama-server -m x.gguf {said}")
    assert (found.engine, found.model, found.flags) == ("llamacpp", "x.gguf", flags)


def test_a_flag_of_ik_llama_names_the_engine() -> None:
    assert read_command("llama-server -m x.gguf -mla 3 -amb 512 -fmoe").engine == "ik-llamacpp"


def test_trtllm_takes_both_kinds_of_dashes() -> None:
    found = read_command(
        "trtllm-serve serve org/m --tp_size 8 --max-batch-size 64 --kv_cache_free_gpu_memory_fraction .8"
    )
    assert found.flags == {"tp": 8, "max_num_seqs": 64, "free_gpu_memory_fraction": 0.8}


@pytest.mark.parametrize(
    "engine", ["vllm serve m", "llama-server -m m", "python -m sglang.launch_server --model-path m"]
)
@pytest.mark.parametrize("flag", ["--api-key mine", "--api-key=mine"])
def test_secrets_are_not_repeated(engine: str, flag: str) -> None:
    found = read_command(f"{engine} {flag}")
    assert "mine" not in str(found)


def test_the_version_of_an_image_counts() -> None:
    assert read_command("docker run --gpus all vllm/vllm-openai:v0.11.0 --model m").flags == {
        "engine_version": "0.11.0"
    }
    for image in ("lazymio/vllm-backport:latest-sm86", "my.registry:5000/team/vllm:v1", "rocm/vllm-dev"):
        assert read_command(f"docker run -v /m/vllm:/m --rm {image} --model m").model == "m"
    assert read_command("docker run --gpus all vllm/vllm-openai:latest --model m").flags == {}


@given(
    st.lists(
        st.sampled_from(
            [
                "-c",
                "8192",
                "-np",
                "4",
                "-fa",
                "auto",
                "-ngl",
                "x",
                "--nope",
                "=",
                "-",
                "--",
                "'",
                "m",
                "-1",
                "K",
            ]
        ),
        max_size=9,
    )
)
def test_any_words_are_read_or_refused(words: list[str]) -> None:
    for start in ("vllm serve", "llama-server", "trtllm-serve", "sglang serve"):
        try:
            read_command(f"{start} {' '.join(words)}")
        except UsageError as error:
            assert str(error).startswith("--command")


@pytest.mark.parametrize(
    "text", ["", "ls -l", "vllm", "vllm serve m -tp", "vllm serve m -tp many", "vllm serve 'm"]
)
def test_what_is_no_command_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        read_command(text)


def test_keys_of_a_json_flag_one_by_one() -> None:
    apart = read_command(
        "vllm serve m --speculative-config.method mtp --speculative-config.num_speculative_tokens=3 -tp 2"
    )
    whole = read_command(
        'vllm serve m --speculative-config \'{"method": "mtp", "num_speculative_tokens": 3}\' -tp 2'
    )
    assert apart == whole
    assert read_command("vllm serve m --limit-mm-per-prompt.image 0 --limit-mm-per-prompt.video 0").flags == {
        "language_model_only": True
    }
    assert read_command("vllm serve m --kernel-config.autotune=False").unknown == (
        "--kernel-config.autotune False",
    )
    with pytest.raises(UsageError):
        read_command("vllm serve m --speculative-config mtp --speculative-config.method mtp")


def test_a_length_that_is_left_to_the_engine() -> None:
    found = read_command("vllm serve m --max-model-len auto")
    assert (found.flags, found.left_open) == ({}, ("--max-model-len auto",))
    assert read_command("vllm serve m --max-model-len=-1").left_open == ("--max-model-len -1",)


@pytest.mark.parametrize("method", ["qwen3_next_mtp", "glm4_moe_mtp", "mtp"])
def test_every_family_has_a_name_for_its_own_draft(method: str) -> None:
    config = f'{{"method": "{method}", "num_speculative_tokens": 1}}'
    assert serving_question(speculative_config=config).speculative


def test_a_draft_that_is_a_model_of_its_own_is_not_counted_as_nothing() -> None:
    ngram = serving_question(speculative_config='{"method": "ngram", "num_speculative_tokens": 4}')
    assert (ngram.speculative, ngram.speculation) == (False, Speculation("ngram", 4))
    other = serving_question(speculative_config='{"method": "medusa", "model": "a/b"}')
    with pytest.raises(UnsupportedError):
        other.check()


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ("vllm", """--speculative-config '{"method": "mtp", "num_speculative_tokens": 3}'"""),
        ("sglang", "--speculative-algorithm NEXTN --speculative-num-steps 3 --speculative-eagle-topk 1"),
        ("llamacpp", "--spec-draft-n-max 3"),
    ],
)
def test_speculation_comes_out_again_in_the_engines_own_words(engine: str, words: str) -> None:
    asked = Asked(engine=engine, layout=Layout(), speculation=Speculation("mtp", 3))
    assert words in shlex.join(command_words(asked))


@pytest.mark.parametrize("said", [("mtp", 1), ("mtp", 5), ("EAGLE", 2), ("ngram", 4)], ids=str)
def test_sglang_drafts_as_far_as_was_asked(said: tuple[str, int]) -> None:
    """Launches that were planned for one token or five drafted three."""
    asked = Asked(engine="sglang", layout=Layout(), speculation=Speculation(*said))
    read = read_command("python -m sglang.launch_server --model-path m " + shlex.join(command_words(asked)))
    found = read.flags["speculation"]
    assert (found.tokens, found.own_draft) == (said[1], said[0] != "ngram")


def test_what_a_pasted_speculation_says_is_kept() -> None:
    pasted = """vllm serve m --speculative-config '{"method": "ngram", "num_speculative_tokens": 5}'"""
    asked = serving_question(**read_command(pasted).flags)
    assert asked.speculation == Speculation("ngram", 5)
    assert read_command("vllm serve m " + shlex.join(command_words(asked))).flags == {
        "tp": 1,
        "speculation": Speculation("ngram", 5),
    }


@pytest.mark.parametrize(
    "text",
    [
        """vllm serve m --speculative-config {"method":"mtp","num_speculative_tokens":2} -tp 4""",
        """vllm serve m --speculative-config='{"method":"mtp","num_speculative_tokens":2}' -tp 4""",
        '''bash -c "vllm serve m --speculative-config '{\\"method\\":\\"mtp\\"}' -tp 4"''',
        """sh -c 'vllm serve m --speculative-config {"method":"mtp","num_speculative_tokens":2} -tp 4' """,
    ],
)
def test_json_is_read_with_and_without_quotes_around_it(text: str) -> None:
    answers = [found.words for found in commands_in(text) if "m" in found.words]
    (words,) = answers
    assert '{"method":"mtp"' in " ".join(words)
    assert words[-2:] == ("-tp", "4")


@pytest.mark.parametrize(
    ("program", "engine"),
    [
        ("vllm bench throughput --model m", "vllm"),
        ("python3 benchmarks/benchmark_latency.py --model m", "vllm"),
        ("python -m dynamo.vllm --model m", "vllm"),
        ("python -m dynamo.sglang --model-path m", "sglang"),
        ("python -m sglang_router.launch_server --router-policy random --model-path m", "sglang"),
        ("smg server --router-selector a=b c=d --model-path m", "sglang"),
    ],
)
def test_programs_that_start_an_engine_of_another(program: str, engine: str) -> None:
    found = read_command(f"{program} --tensor-parallel-size 2 --num-prompts 9")
    assert (found.engine, found.model, found.flags) == (engine, "m", {"tp": 2})
    assert found.unknown == ("--num-prompts 9",)


def test_a_length_beyond_the_positions_is_let_through_by_a_variable() -> None:
    from oomless.api.serving import infer

    with pytest.raises(UsageError, match="positions of qwen3-8b"):
        infer("qwen3-8b", "h200", max_model_len=65536)
    said = REMARKS["VLLM_ALLOW_LONG_MAX_MODEL_LEN=1"]
    answer = infer("qwen3-8b", "h200", max_model_len=65536, engine_version=f"0.19.0 ({said})")
    assert answer.request.max_model_len == 65536


def test_weights_that_are_quantised_on_the_host_never_lie_in_16_bit_on_the_card() -> None:
    """A variable of Intel's fork (intel/llm-scaler#339); a rank of Qwen3.5-27B has 27 GB in 16 bit."""
    from oomless.api.serving import infer

    said = REMARKS["VLLM_OFFLOAD_WEIGHTS_BEFORE_QUANT=1"]
    kept, passed = (
        infer("qwen3.5-27b", "arc-pro-b60:2", quantization="fp8", engine_version=text, tp=2)
        for text in ("0.14.0", f"0.14.0 ({said})")
    )
    told = "loads a rank in 16 bit"
    assert [told in " ".join(each.warnings) for each in (kept, passed)] == [True, False]


def test_an_intel_gpu_captures_graphs_where_a_variable_or_a_late_release_says_so() -> None:
    """vllm#38193, #51600; a tile of a Max 1550 under 0.10.1 captures none, and counts 427 MiB beside PyTorch
    (code index id 7031462013)."""
    from oomless.api.serving import infer

    said = REMARKS["VLLM_XPU_ENABLE_XPU_GRAPH=1"]
    none, asked, late = (
        infer("llama-2-7b", "max-1550", dtype="float16", engine_version=text).estimate.ledger
        for text in ("0.10.1", f"0.30.0 ({said})", "0.31.0")
    )
    keys = [{line.key for line in ledger.lines} for ledger in (none, asked, late)]
    assert ["runtime.cuda_graphs" in each for each in keys] == [False, True, True]
    [beside] = [line for line in none.lines if line.key == "runtime.non_torch"]
    assert beside.low_bytes <= 128 * 2**20 < 427 * 2**20 <= beside.high_bytes


def test_a_bench_of_batches_does_not_fit_itself() -> None:
    """ggml-org/llama.cpp#28970: it calls no common_init_from_params."""
    found = read_command("llama-batched-bench -m Qwen3.6-35B-A3B-Q8_0.gguf -npl 1,2 -c 120000 -fit on")
    assert (found.engine, found.flags["fit"]) == ("llamacpp", False)


def test_programs_that_are_built_on_llama_cpp_have_flags_of_their_own() -> None:
    kobold = read_command(
        "koboldcpp.exe --usecublas normal --contextsize 16384 --gpulayers 43 --quantkv 1 --tensor_split 3 1 "
        "-b 1024 --model yi-34b.Q6_K.gguf"
    )
    assert (kobold.engine, kobold.model, kobold.unknown) == ("llamacpp", "yi-34b.Q6_K.gguf", ())
    assert kobold.flags == {
        "swa_full": True,
        "fit": False,
        "n_gpu_layers": 43,
        "tensor_split": "3,1",
        "cache_type_k": "q8_0",
        "cache_type_v": "q8_0",
        "ubatch_size": 1024,
        "max_num_seqs": 1,
        "max_model_len": 16384,
        "context": 16384,
        "concurrency": 1,
    }
    server = read_command("python3 -m llama_cpp.server --model m.Q4_0.gguf --n_ctx 2048 --n_gpu_layers 35")
    assert (server.flags["n_gpu_layers"], server.flags["max_model_len"]) == (35, 2048)


@pytest.mark.parametrize(
    "image",
    ["ghcr.io/ggml-org/llama.cpp:full-cuda12 --server", "llama-server-cpp-intel", "x/llama-server:b1"],
)
def test_an_image_that_starts_the_server_is_its_command(image: str) -> None:
    found = read_command(f"docker run --gpus all -v /m:/m {image} -m /m/gpt-oss-20b-Q4_K_M.gguf -c 8192")
    assert (found.engine, found.flags["max_model_len"]) == ("llamacpp", 8192)


def test_builds_and_benchmarks_of_tensorrt_llm_are_read_as_its_server() -> None:
    """What is built or measured is what is served (TensorRT-LLM#2451)."""
    bench = "trtllm-bench --model org/m throughput --dataset d.txt --max_batch_size 8 --tp 8 --ep 8"
    found = read_command(f"{bench} --kv_cache_free_gpu_mem_fraction 0.85")
    flags = {"max_num_seqs": 8, "tp": 8, "ep_size": 8, "free_gpu_memory_fraction": 0.85}
    assert (found.model, found.flags, found.unknown) == ("org/m", flags, ())
    built = read_command(
        "trtllm-build --checkpoint_dir trt_ckpt/chatglm3_6b/fp16/1-gpu --gemm_plugin float16"
    )
    assert is_path(built.model or "")
    assert not built.unknown
    with pytest.raises(UnsupportedError, match="logits of whole prompts"):
        read_command("trtllm-build --checkpoint_dir ./x --gather_context_logits")
