"""What GGUF types and file types weigh, against ggml's own table and published files
(tests/tables/gguf_sizes.csv)."""

from math import prod
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomless.errors import UnsupportedError, UsageError
from oomless.model.gguf_builds import PLAIN_FILES, own_mixes, refuse_own_mix
from oomless.model.gguf_choice import Facts, mix_type
from oomless.model.gguf_dynamic import own_size
from oomless.model.gguf_model import as_gguf, file_bytes, pieces
from oomless.model.gguf_types import (
    FALLBACKS,
    FILE_TYPES,
    LARGE_ENDS,
    TYPE_NUMBERS,
    TYPES,
    default_type,
    file_type,
)
from oomless.model.load import load
from oomless.truth.tables import MeasuredRow, read_table
from oomless.truth.validate import score
from oomless.units import GIB

BUDGET = 0.005
TABLES = Path(__file__).parents[1] / "tables"


def test_published_files() -> None:
    """All rows within the budget. A row's source says whose file it is, and so whether its i-quants were made
    with a matrix."""
    rows = [score(row) for row in read_table(TABLES / "gguf_sizes.csv")]
    errors = [abs(row.rel_error) for row in rows if row.rel_error is not None]
    assert len(errors) == 38
    assert max(errors) <= BUDGET
    assert sum(errors) / len(errors) <= 0.0012


NOT_BY_THE_RULE = {
    "fresh-deepseek-coder-v2-lite-Q4_K_L-bartowski": "ends were F16 in bartowski's first files with _L "
    "(June 2024)",
    "fresh-deepseek-coder-v2-lite-Q5_K_L-bartowski": "the same",
    "fresh-qwen3.5-9b-BF16-bartowski": "made again in the summer of 2026, with the MTP layer",
    **dict.fromkeys(
        (f"fresh-qwen2.5-coder-0.5b-{kind}-exact" for kind in ("Q8_0", "Q4_K_M", "Q2_K")),
        "Qwen's own files of tied models hold the output beside the embedding",
    ),
}


def test_files_found_afterwards() -> None:
    """Files of 122 models that were found blind: within the budget and half of the last printed digit, or
    refused, or named above."""
    table = read_table(TABLES / "gguf_sizes_fresh.csv")
    rows = [(row, score(row)) for row in table]
    scored = [(row, each) for row, each in rows if each.rel_error is not None]
    off = [
        row.id
        for row, each in scored
        if each.rel_error is not None and abs(each.rel_error) > BUDGET + digit(row) / row.value
    ]
    assert set(off) == set(NOT_BY_THE_RULE)
    errors = sorted(abs(each.rel_error or 0) for _, each in scored)
    assert len(errors) >= 0.84 * len(rows)
    assert errors[len(errors) // 2] <= 0.001
    assert errors[9 * len(errors) // 10] <= 0.003
    refused = {each.reason.split(" by a rule")[0] for _, each in rows if each.status == "unsupported"}
    assert all("choose the types" in reason or "no known place" in reason for reason in refused)


def digit(row: MeasuredRow) -> float:
    """Half of the last digit that the listing prints: of GiB one decimal, of GB two, of bytes all."""
    return {"GiB": 0.05, "GB (decimal)": 0.005, "bytes": 0.5}[row.unit]


GPT_OSS_120B = {
    "F16": 60.88,
    "Q8_0": 59.03,
    "Q6_K": 58.94,
    "Q5_K_M": 58.57,
    "Q5_K_S": 58.56,
    "Q4_K_M": 58.46,
    "Q4_1": 58.41,
}
GPT_OSS_120B |= {"Q4_0": 58.32, "Q3_K_M": 58.33, "Q3_K_S": 58.27, "Q2_K": 58.27}
"""GiB of unsloth's files, as public lists print them (the unit is printed as GB there)."""


@pytest.mark.parametrize(("word", "published"), GPT_OSS_120B.items())
def test_experts_published_in_mxfp4_stay_so_in_every_file(word: str, published: float) -> None:
    assert file_bytes(load("gpt-oss-120b"), word) / GIB == pytest.approx(published, rel=2e-4)


def test_what_a_file_type_alone_cannot_tell() -> None:
    """Whether IQ4_XS was made with an importance matrix is its publisher's choice, and 0.9 % of
    DeepSeek-V2-Lite."""
    with_matrix, without = (
        file_bytes(load("deepseek-v2-lite"), "IQ4_XS", imatrix=each) for each in (True, False)
    )
    assert 1.005 < without / with_matrix < 1.01


@pytest.mark.parametrize(
    ("build", "name", "mix", "expected"),
    [
        ("2023-11", "blk.9.ffn_up.weight", "Q2_K", "Q3_K"),
        ("2024-01", "blk.9.ffn_up.weight", "Q2_K", "Q2_K"),
        ("2025-06", "blk.9.attn_qkv.weight", "Q4_K_M", "Q5_K"),
        ("2026-03", "blk.9.attn_qkv.weight", "Q4_K_S", "Q4_K"),
        ("2026-03", "blk.9.attn_qkv.weight", "Q3_K_L", "Q5_K"),
        ("2026-03", "blk.9.attn_qkv.weight", "IQ2_M", "Q4_K"),
        ("2025-06", "blk.9.attn_qkv.weight", "IQ2_M", "IQ2_S"),
    ],
)
def test_rules_of_a_time(build: str, name: str, mix: str, expected: str) -> None:
    assert mix_type(mix, name, MATRIX, QWEN._replace(build=build), 9, 9) == expected


def test_fused_queries_keys_and_values() -> None:
    names = {piece.name: piece.shape for piece in pieces(load("phi-4")) if piece.layer == 0}
    assert names["blk.0.attn_qkv.weight"] == (7680, 5120)
    assert not any("attn_k." in name or "attn_v." in name for name in names)


def test_a_head_that_the_checkpoint_stores_beside_a_tied_embedding() -> None:
    """Falcon's converter writes both, and then the embedding is of the file's ordinary type."""
    ends = {
        t.name: t.format.name
        for t in as_gguf(load("falcon-7b"), "Q4_0").tensors
        if not t.layers and len(t.shape) > 1
    }
    assert ends == {"model.embed_tokens.weight": "Q4_0", "lm_head.weight": "Q8_0"}


def test_a_bias_does_not_count_as_a_tensor_of_the_mix() -> None:
    """StarCoder2 has biases on ffn_down: more bits go by the layer all the same."""
    stored = as_gguf(load("starcoder2-15b"), "Q4_K_M")
    raised = sorted(
        layer
        for t in stored.tensors
        if "down_proj.weight" in t.name and t.format.name == "Q6_K"
        for layer in t.layers
    )
    assert raised[:6] == [0, 1, 2, 3, 4, 7]


def test_the_mtp_layer_goes_with_the_time() -> None:
    model = load("qwen3.6-27b")
    assert not any("nextn" in piece.name for piece in pieces(model))
    assert any("blk.64.nextn.eh_proj" in piece.name for piece in pieces(model, build="2026-08"))


def test_publishers_with_rules_of_their_own_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="a rule of their own"):
        refuse_own_mix("bartowski/Qwen_Qwen3.5-9B-GGUF", "qwen3_5", "Q4_K_M")
    with pytest.raises(UnsupportedError, match="a rule of their own"):
        refuse_own_mix("bartowski/deepseek-ai_DeepSeek-V3.1-GGUF", "deepseek_v3", "Q4_K_M", "deepseek-v3.1")
    refuse_own_mix("bartowski/DeepSeek-R1-GGUF", "deepseek_v3", "Q4_K_M", "deepseek-r1")
    refuse_own_mix("bartowski/Qwen_Qwen3.5-9B-GGUF", "qwen3_5", "Q8_0")
    refuse_own_mix("bartowski, mradermacher", "qwen3_5", "Q4_K_M")
    refuse_own_mix("bartowski/gemma-2-9b-it-GGUF", "gemma2", "Q4_K_M")


def test_a_publisher_with_a_rule_of_his_own_has_the_share_of_his_other_files() -> None:
    """bartowski's google_gemma-4-26B-A4B-it-IQ3_XXS.gguf has 12,160,200,320 bytes
    (mericanii-technologies/revv), llama-quantize's rule 7 % less; all of his files lie inside."""
    published = [("gemma-4-26b-a4b", "IQ3_XXS", 12_160_200_320.0, 0.0)]
    unit = {"GiB": GIB, "GB (decimal)": 1e9, "bytes": 1}
    for row in (*read_table(TABLES / "gguf_sizes.csv"), *read_table(TABLES / "gguf_sizes_fresh.csv")):
        of = row.configuration
        if "bartowski" in row.id and of["quant"].upper() not in PLAIN_FILES:
            size, doubt = row.value * unit[row.unit], digit(row) / row.value
            published.append((of["model"], of["quant"], size, doubt))
    held = 0
    for name, word, size, doubt in published:
        model = load(name)
        own = [row for row in own_mixes(model.family, name) if row["publisher"] == "bartowski"]
        if own:
            share = size / file_bytes(model, word, imatrix=True)
            known = own_size(own[0], word)
            assert known.low - doubt <= share <= known.high + doubt, (name, word, share)
            held += 1
    assert held >= 55
    file = as_gguf(load("gemma-4-26b-a4b"), "BARTOWSKI-IQ3_XXS")
    assert file.size_spread
    assert "bartowski's other files" in file.warnings[-1]


def test_types_against_the_gguf_package() -> None:
    package = pytest.importorskip("gguf")
    for kind, (block, size) in package.GGML_QUANT_SIZES.items():
        ours = TYPE_NUMBERS[int(kind)]
        assert (ours.name, ours.block, ours.block_bytes) == (kind.name, block, size)
    for number, name in FILE_TYPES.items():
        if number < 41:  # newer than gguf 0.19
            assert package.LlamaFileType(number).name.removeprefix("MOSTLY_").removeprefix("ALL_") == name


def test_type_numbers_are_unique() -> None:
    assert len(TYPE_NUMBERS) == len(TYPES)


@given(st.sampled_from(sorted(TYPES)), st.integers(1, 9), st.integers(1, 4), st.integers(1, 40))
def test_a_format_weighs_what_its_type_weighs(name: str, experts: int, rows: int, blocks: int) -> None:
    kind = TYPES[name]
    shape = (experts, rows, blocks * kind.block)
    form = kind.format(shape[-1])
    assert form.num_bytes(shape) == kind.num_bytes(shape)
    assert 0 < form.bits <= 64
    assert form.scale_bits >= 0


def test_sizes_that_logs_print() -> None:
    # llama.cpp's host buffer of a token embedding, 152064 x 5120 in q4_K: 417.66 MiB (knowledge:
    # serving_memory.md)
    assert round(TYPES["Q4_K"].num_bytes((152064, 5120)) / 2**20, 2) == 417.66
    # DeepSeek-V3 with k_b and v_b beside kv_b has 672.05 B parameters instead of 671.03 B
    counted = {
        way: sum(prod(piece.shape) for piece in pieces(load("deepseek-v3"), way))
        for way in ("whole", "split", "both")
    }
    assert counted["whole"] == counted["split"] == load("deepseek-v3").num_parameters
    assert counted["both"] - counted["whole"] == 61 * 128 * 512 * 256


def test_every_file_type_of_every_kind_of_model() -> None:
    for name in (
        "qwen2.5-0.5b",
        "mixtral-8x7b",
        "deepseek-v3",
        "qwen3-30b-a3b",
        "glm-4.5-air",
        "gpt-oss-20b",
    ):
        model = load(name)
        sizes = {mix: file_bytes(model, mix) for mix in (*FILE_TYPES.values(), *LARGE_ENDS)}
        ladder = [sizes[mix] for mix in ("IQ1_S", "IQ2_XXS", "IQ3_XXS", "IQ4_XS", "Q5_K_S", "Q8_0", "F16")]
        assert ladder == sorted(ladder)  # gpt-oss's rows of 2880 make equal what asks for blocks of 256
        for small, large in (
            ("Q3_K_S", "Q3_K_M"),
            ("Q4_K_S", "Q4_K_M"),
            ("Q4_K_M", "Q4_K_L"),
            ("Q6_K", "Q6_K_L"),
        ):
            assert sizes[small] <= sizes[large]
        stored = as_gguf(model, "Q4_K_M")
        assert stored.num_parameters == sum(
            prod(piece.shape) for piece in pieces(model) if piece.group.part == "main"
        )
        # beside the tensors lie the tokenizer and names: below 1 % of the smallest of these files but for the
        # tiny model
        assert 0 < sizes["Q4_K_M"] - stored.checkpoint_bytes < 60 * model.vocab_size


def test_a_file_holds_no_mtp_layer_but_glms() -> None:
    assert not any(piece.layer > 60 for piece in pieces(load("deepseek-v3")))
    assert any("nextn.eh_proj" in piece.name for piece in pieces(load("glm-4.5-air")))


def test_a_tied_model_has_one_embedding_in_the_heads_type() -> None:
    stored = as_gguf(load("qwen2.5-0.5b"), "Q4_K_M")
    ends = [(t.name, t.format.name) for t in stored.tensors if not t.layers]
    assert ends == [
        ("model.norm.weight", "float32"),
        ("model.embed_tokens.weight", "Q8_0"),
    ]  # 896 is no multiple of 256


def test_families_without_a_place_in_gguf_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="no known place in a GGUF file"):
        file_bytes(load("deepseek-v4.1-flash"), "Q4_K_M")


@pytest.mark.parametrize(
    ("word", "expected"),
    [("q3_k", "Q3_K_M"), ("Q4-K-M", "Q4_K_M"), ("i1-IQ1_S", "IQ1_S"), ("mxfp4", "MXFP4_MOE")],
)
def test_words_of_file_types(word: str, expected: str) -> None:
    assert file_type(word)[0] == expected


@pytest.mark.parametrize("word", ["Q4_K_XXL", "", "AWQ", "IQ9"])
def test_unknown_words_are_refused(word: str) -> None:
    with pytest.raises(UsageError, match="is no GGUF file type"):
        file_type(word)


def test_dynamic_mixes_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="chosen by hand"):
        file_type("UD-Q4_K_XL")


LLAMA_70B = Facts(num_layers=80, n_gqa=8, is_70b=True, num_attn_v=80)
MIXTRAL = Facts(num_layers=32, n_gqa=4, num_experts=8, num_attn_v=32)
QWEN = Facts(num_layers=28, n_gqa=7, num_attn_v=28)
MHA = Facts(num_layers=32, n_gqa=1, num_attn_v=32)
MATRIX = (4096, 4096)


@pytest.mark.parametrize(
    ("mix", "name", "facts", "place", "expected"),
    [
        ("Q4_K_M", "output.weight", QWEN, 0, "Q6_K"),
        ("Q8_0", "output.weight", QWEN, 0, "Q8_0"),
        ("IQ3_XXS", "output.weight", QWEN, 0, "Q5_K"),
        ("Q2_K", "token_embd.weight", QWEN, 0, "Q2_K"),
        ("Q2_K", "token_embd.weight", QWEN._replace(tied=True), 0, "Q6_K"),
        ("IQ2_M", "token_embd.weight", QWEN, 0, "IQ3_S"),
        ("Q6_K_L", "token_embd.weight", QWEN, 0, "Q8_0"),
        ("Q6_K_L", "blk.0.ffn_up.weight", QWEN, 0, "Q6_K"),
        ("Q2_K", "blk.9.attn_v.weight", QWEN, 9, "Q4_K"),
        ("Q2_K", "blk.9.attn_v.weight", MHA, 9, "Q3_K"),
        ("Q2_K", "blk.9.attn_output.weight", QWEN, 9, "Q3_K"),
        ("Q3_K_M", "blk.1.attn_v.weight", QWEN, 1, "Q5_K"),
        ("Q3_K_M", "blk.2.attn_v.weight", QWEN, 2, "Q4_K"),
        ("Q3_K_M", "blk.2.attn_v.weight", LLAMA_70B, 2, "Q5_K"),
        ("Q4_K_S", "blk.3.attn_v.weight", QWEN, 3, "Q5_K"),
        ("Q4_K_S", "blk.4.attn_v.weight", QWEN, 4, "Q4_K"),
        ("Q4_K_M", "blk.4.attn_v.weight", MIXTRAL, 4, "Q8_0"),
        ("Q4_K_M", "blk.4.attn_k.weight", MIXTRAL, 4, "Q8_0"),
        ("Q4_K_M", "blk.4.attn_output.weight", MIXTRAL, 4, "Q5_K"),
        ("IQ3_XS", "blk.2.ffn_gate.weight", QWEN, 2, "IQ3_S"),
        ("IQ3_XS", "blk.3.ffn_gate.weight", QWEN, 3, "IQ3_XXS"),
        ("IQ3_XXS", "blk.3.attn_q.weight", QWEN, 3, "IQ2_S"),
        ("IQ1_S", "blk.3.attn_output.weight", QWEN, 3, "IQ2_XXS"),
        ("IQ2_XS", "blk.2.ffn_down.weight", QWEN, 2, "Q2_K"),
        ("IQ2_XS", "blk.3.ffn_down.weight", QWEN, 3, "IQ2_XS"),
        ("IQ4_XS", "blk.2.ffn_down.weight", QWEN, 2, "Q5_K"),
        ("IQ4_XS", "blk.2.ffn_down.weight", QWEN._replace(imatrix=True), 2, "IQ4_XS"),
        ("Q4_0", "blk.2.ffn_down.weight", QWEN, 2, "Q4_0"),
        ("Q4_0", "blk.2.ffn_down.weight", QWEN._replace(imatrix=True), 2, "Q4_1"),
        ("Q4_K_M", "blk.9.attn_k_b.weight", MHA, 9, "Q4_K"),
        ("Q4_K_M", "blk.9.attn_norm.weight", QWEN, 9, "F32"),
        ("Q4_K_M", "blk.9.ffn_gate_inp.weight", MIXTRAL, 9, "F32"),
        ("Q4_K_M", "blk.9.ffn_up_exps.bias", MIXTRAL, 9, "F32"),
        ("F16", "blk.9.ffn_gate_inp.weight", MIXTRAL, 9, "F32"),
        ("BF16", "blk.9.ffn_up.weight", QWEN, 9, "BF16"),
        ("MXFP4_MOE", "blk.9.attn_q.weight", MIXTRAL, 9, "Q8_0"),
        ("NVFP4", "blk.9.attn_q.weight", MIXTRAL, 9, "Q8_0"),
        ("NVFP4", "blk.9.ffn_up_exps.weight", MIXTRAL, 9, "NVFP4"),
    ],
)
def test_rules_of_the_mixes(mix: str, name: str, facts: Facts, place: int, expected: str) -> None:
    assert mix_type(mix, name, MATRIX, facts, place, place) == expected


def test_rows_that_no_block_divides() -> None:
    """A row of 1408 falls back to blocks of 32, one of 80 to blocks of 16 bits."""
    for mix in FILE_TYPES.values():
        default = default_type(mix)
        expected = (
            "Q8_0"
            if mix in ("MXFP4_MOE", "NVFP4")
            else FALLBACKS[default]
            if 1408 % TYPES[default].block
            else default
        )
        assert mix_type(mix, "blk.9.attn_q_a.weight", (64, 1408), MHA, 9, 9) == expected
        assert mix_type(mix, "blk.9.attn_q_a.weight", (64, 80), MHA, 9, 9) in ("F16", "BF16", "F32")


def test_a_repacked_checkpoint_has_an_interval() -> None:
    """A page's file of Qwen3.8-27B has some 19 GB; at 4.5 bits for all it would have 15.7."""
    found = as_gguf(load("qwen3.8-27b"), "NVFP4")
    assert found.size_spread
    low, high = (share * found.explained_bytes / 1e9 for share in found.size_spread.others)
    assert low < 19 < high
    assert found.explained_bytes / 1e9 == pytest.approx(19, rel=0.08)
