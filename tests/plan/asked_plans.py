"""Random plans: models of every kind, loads from one short sequence to many long ones, the whole catalogue or
a few cards."""

from hypothesis import strategies as st

from oomless.plan.goals import PlanLimits, Wanted

MODELS = (
    "deepseek-r1",
    "deepseek-v2-lite",
    "deepseek-v3.2",
    "deepseek-v4-flash",
    "deepseek-r1-distill-qwen-7b",
    "deepseek-r1-distill-qwen-32b",
    "deepseek-r1-distill-llama-70b",
    "deepseek-coder-1.3b",
    "deepseek-moe-16b",
    "llama-3.1-8b-w4a16",
    "qwen2.5-7b-awq",
    "gemma-4-31b",
)
GPUS = (
    "h100",
    "h200:8",
    "a100-80gb",
    "b200",
    "rtx-4090",
    "rtx-3090:2",
    "l40s",
    "t4",
    "dgx-spark",
    "mi300x",
    "gaudi-3",
    "910b",
    "m3-ultra",
    "raspberry-pi-5",
    "80GiB:8",
    "jetson-agx-orin-64gb",
    "cpu:256GiB",
    "h100-mig-3g.40gb",
    "rtx-3090+rtx-4090",
)


@st.composite
def wanted(draw: st.DrawFn) -> Wanted:
    """A question that can be put."""
    return Wanted(
        gpus=tuple(draw(st.lists(st.sampled_from(GPUS), min_size=1, max_size=3, unique=True))),
        context=draw(st.sampled_from((512, 4096, 8192, 32768))),
        concurrency=draw(st.sampled_from((1, 2, 7, 16, 64, 300))),
        goal=draw(st.sampled_from(("cheapest", "fastest", "fewest"))),
        limits=PlanLimits(max_gpus=draw(st.sampled_from((1, 8, 16, 32)))),
        engines=draw(
            st.sampled_from(
                ((), (), ("vllm",), ("sglang",), ("llamacpp",), ("trtllm",), ("ollama",), ("transformers",))
            )
        ),
        host_memory=draw(st.sampled_from((None, None, "512GiB"))),
        instances=draw(st.sampled_from((1, 1, 1, 2))),
        rows=draw(st.sampled_from((2, 5))),
    )


plans = st.tuples(st.sampled_from(MODELS), wanted())
