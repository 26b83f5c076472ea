"""`oomless infer`, built from the table of options."""

from .answer import answer_infer
from .options import asking

infer = asking(
    "infer",
    lambda model, **options: answer_infer(model, options),
    "Will MODEL serve on the cards of --gpu, and how many tokens and sequences will its cache take?\n\n"
    "MODEL is a catalogue name (deepseek-v3), a hub id (deepseek-ai/DeepSeek-V3), a folder, a "
    "config.json, a .safetensors file or "
    "its index, or a .gguf file.",
    "\b\nExamples:\n  oomless infer deepseek-r1 --gpu h200:8\n"
    "  oomless infer deepseek-v3.2 --gpu h200:8 --kv-cache-dtype fp8 --context 65536 --concurrency 32\n"
    "  oomless infer deepseek-r1-distill-qwen-7b --gpu rtx-4090 --max-model-len 32768 --explain all",
)
