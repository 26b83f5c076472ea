"""What serving with llama.cpp, ik_llama.cpp and Ollama is asked beside what all engines are. Names are those
of common/arg.cpp and common.cpp."""

from . import LLAMA, Option

IK = "llamacpp ik-llamacpp"
# fmt: off
OF_LLAMACPP: tuple[Option, ...] = (
    Option("n_gpu_layers", "-ngl --n-gpu-layers", "layers", "llamacpp",
           "Layers on the cards, counted from the last, the output being one more; the rest stay on the host "
           "[all].", known={LLAMA: "-ngl --gpu-layers --n-gpu-layers --gpulayers"}),
    Option("tensor_split", "--tensor-split -ts", "text", "llamacpp",
           "Share of each card in the layers: 3,1 [by memory].", known={LLAMA: "-ts --tensor-split"}),
    Option("split_mode", "--split-mode -sm", "text", "llamacpp",
           "layer deals whole layers, row cuts matrices over the cards too, none uses one card; tensor cuts "
           "layers and cache at heads and blocks; ik_llama.cpp's graph and attn count as layer.", "layer",
           choices=("layer", "row", "tensor", "none", "graph", "attn"), known={LLAMA: "-sm --split-mode"}),
    Option("fit", "--fit -fit", "onoff", "llamacpp",
           "What was not set is changed where a card is too small: the context, then the layers on the "
           "cards; Ollama always does so [on; of ik_llama.cpp off].", known={IK: "-fit --fit"}),
    Option("fit_target", "--fit-target -fitt", "whole", "llamacpp",
           "MiB of each card that --fit leaves free [1024].", 1024, -1e6,
           known={IK: "-fitt --fit-target --fit-margin"}),
    Option("fit_ctx", "--fit-ctx -fitc", "whole", "llamacpp",
           "The context below which --fit does not go [4096].", 4096, 256,
           known={"llamacpp": "-fitc --fit-ctx"}),
    Option("cpu_moe", "--cpu-moe -cmoe", "switch", "llamacpp",
           "Routed experts stay on the host; a card that multiplies them for a whole micro-batch copies them "
           "over, one matrix at a time.", False, known={LLAMA: "-cmoe --cpu-moe"}),
    Option("n_cpu_moe", "--n-cpu-moe -ncmoe", "whole", "llamacpp",
           "Routed experts of the first N layers stay on the host [0].", 0,
           known={LLAMA: "-ncmoe --n-cpu-moe --moecpu"}),
    Option("override_tensor", "--override-tensor -ot", "text", "llamacpp",
           "Single tensors by name: exps=CPU, blk.3.=CUDA1, with commas between; the first rule that finds a "
           "name counts.", known={LLAMA: "-ot --override-tensor --overridetensors"}, joined=True),
    Option("ubatch_size", "--ubatch-size -ub", "whole", "llamacpp",
           "Tokens of a micro-batch, which decides the compute buffer [512; Ollama: by context].", None, 1,
           known={LLAMA: "-ub --ubatch-size --n-ubatch --blasbatchsize --batchsize"}),
    Option("batch_size", "", "whole", "llamacpp", "A micro-batch is no longer than it.",
           known={LLAMA: "-b --batch-size --n-batch"}),
    Option("hf_file", "", "text", "llamacpp", "It says the type.", known={LLAMA: "-hff --hf-file"}),
    Option("flash_attn", "--flash-attn -fa", "onoff", "llamacpp", "Flash attention [by the build].",
           known={LLAMA: "-fa --flash-attn --flashattention -no-fa=off --no-flash-attn=off"}),
    Option("kv_unified", "--kv-unified -kvu", "switch", "llamacpp",
           "Slots share one cache, as they do if their number is not given.",
           known={LLAMA: "-kvu --kv-unified"}),
    Option("no_kv_offload", "--no-kv-offload -nkvo", "switch", "llamacpp",
           "The cache and attention stay on the host.", False, known={LLAMA: "-nkvo --no-kv-offload"}),
    Option("swa_full", "--swa-full", "switch", "llamacpp",
           "Layers with a window cache the whole context; libraries built on llama.cpp do so by default.",
           False, known={"llamacpp": "--swa-full"}),
    Option("cache_type_k", "--cache-type-k -ctk", "text", "llamacpp",
           "Type of cached keys: f16, q8_0 and others [f16].", "f16", known={LLAMA: "-ctk --cache-type-k"}),
    Option("cache_type_v", "--cache-type-v -ctv", "text", "llamacpp",
           "Type of cached values: f16, q8_0 and others [f16].", "f16", known={LLAMA: "-ctv --cache-type-v"}),
    Option("mla_attn", "--mla-use -mla", "whole", "llamacpp",
           "ik_llama.cpp: how the cache keeps MLA, 0 to 3.", None, 0, 3, known={IK: "-mla --mla-use"}),
    Option("attn_max_batch", "--attention-max-batch -amb", "whole", "llamacpp",
           "ik_llama.cpp: MiB of F32 scores at a time [all].", 0, known={IK: "-amb --attention-max-batch"}),
    Option("run_time_repack", "--run-time-repack -rtr", "switch", "llamacpp",
           "ik_llama.cpp: the host's rows are interleaved.", False, known={IK: "-rtr --run-time-repack"}),
    Option("gpu_overhead", "--gpu-overhead", "whole", "llamacpp",
           "Ollama: bytes of each card that layers do not get [0].", 0, known={"ollama": ""}),
)
