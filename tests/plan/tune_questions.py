"""Questions of tuning that a machine makes up: models x cards x engines x loads x promises, most of them
sensible."""

from random import Random

from oomless.errors import OomlessError
from oomless.model.load import load
from oomless.plan.tune.question import TuneQuestion
from oomless.plan.tune.slo import Slo
from oomless.run.hardware import parse_gpu
from oomless.run.serving import Asked

MODELS = (
    "deepseek-r1 deepseek-v3.2 deepseek-v2-lite deepseek-r1-distill-qwen-32b deepseek-r1-distill-qwen-7b "
    "qwen3-30b-a3b llama-3.1-8b gpt-oss-120b deepseek-v4-flash"
).split()
CARDS = "h20:8 h200:8 h100:8 h100:2 b200:4 a100-80gb:4 l40s:2 rtx-4090:1 rtx-4090:8".split()
ENGINES = "vllm vllm vllm trtllm sglang llamacpp".split()
PROMISES = (Slo(), Slo(), Slo(2.0, 0.05), Slo(None, 0.03))


def question(random: Random, engines: list[str] | None = None) -> TuneQuestion:
    """A question; some have no answer."""
    engine = random.choice(engines or ENGINES)
    context = random.choice((2048, 8192, 32768))
    most = 8 if engine == "llamacpp" else 256
    concurrency = random.choice([each for each in (1, 3, 8, 40, 64, 256) if each <= most])
    fixed = {"mem_fraction_static", "cuda_graph_max_bs"} if engine == "sglang" else set[str]()
    return TuneQuestion(
        load(random.choice(MODELS)),
        parse_gpu(random.choice(CARDS)),
        Asked(
            engine=engine,
            context=context,
            max_model_len=context,
            concurrency=concurrency,
            max_num_seqs=concurrency if engine == "llamacpp" else None,
        ),
        slo=random.choice(PROMISES),
        allow=frozenset(random.choice(((), (), ("cache",)))),
        fixed=frozenset({"max_model_len", *fixed}),
    )


def answered(seed: int, engines: list[str] | None = None) -> TuneQuestion:
    """The first question of a seed that has an answer."""
    random = Random(seed)
    while True:
        found = question(random, engines)
        try:
            if found.search().run():
                return found
        except OomlessError:
            continue
