"""How Ollama's log reads, 0.1 to 0.19: its own lines, and those of the llama.cpp that it runs.

Its sizes on each device are what it expects before loading; they count where its own engine prints no others.
"""

import re

from ...recording.log_lines import PREDICTED, LogLine, LogReader, Said, says
from .log import HOST_BUFFERS, LLAMA
from .log import LOG as LLAMACPP_LOG

SIZE = r'"\[?([\d.]+ [KMGT]?i?B)\]?(?: [^"]*)?"'
OFFLOAD = r'msg=(?:"offload to \w+"|offload )'
DEVICE = r"(?:device|buffer|backend=\S+ buffer_type)=(\S+)"
"""The newer engine's name of a device; before 0.12 that of a buffer."""
OLLAMA = (
    LogLine(b"Listening on", r'msg="Listening on \S+ \(version ([^)"]+)\)"', says("engine_version text")),
    LogLine(
        b"inference compute",
        r'msg="inference compute".*?\bname=(?:"([^"]*)"|(\S+))',
        says("device text", "device text"),
    ),
    LogLine(b"inference compute", r'msg="inference compute".*?\bdescription="([^"]+)"', says("gpu text")),
    LogLine(
        b"inference compute",
        r'msg="inference compute" .*?library=[cC][uU][dD][aA].*?\bname="((?:NVIDIA|Tesla)[^"]+)"',
        says("gpu text", rank=1),
    ),
    LogLine(
        b"inference compute",
        rf'msg="inference compute".*?\btotal={SIZE} available={SIZE}',
        says("gpu_memory_bytes size", "gpu_free_bytes size"),
    ),
    LogLine(
        b"memory reporting free:",
        r"memory reporting free: (\d+) total: (\d+)",
        says("gpu_free_bytes B", "gpu_memory_bytes B", rank=1),
    ),
    LogLine(
        b"starting runner",
        r'msg="starting (?:ollama )?runner" cmd="[^"]* --model (\S+)',
        says("model_file text"),
        "start",
    ),
    LogLine(
        b"starting llama server",
        r'msg="starting llama[ -]server" cmd="?(?:[^"]*?) --model (\S+)',
        says("model_file text"),
        "start",
    ),
    LogLine(
        b"starting llama server",
        r'msg="starting llama[ -]server".*? --ctx-size (\d+)',
        says("context count", rank=1),
    ),
    LogLine(
        b"starting llama server",
        r'msg="starting llama[ -]server".*? --parallel (\d+)',
        says("max_num_seqs count", rank=1),
    ),
    *(
        line
        for anchor in (b"offload to ", b"msg=offload ")  # the second: 0.5
        for line in (
            LogLine(
                anchor,
                rf"{OFFLOAD}.*?layers\.model=(\d+) layers\.offload=(\d+)",
                says("layers count", "layers_offloaded count", rank=1),
            ),
            LogLine(
                anchor,
                rf"{OFFLOAD}.*?memory\.required\.full={SIZE}",
                says("predicted_total_bytes size"),
            ),
            LogLine(
                anchor,
                rf"{OFFLOAD}.*?memory\.required\.kv={SIZE}",
                says("predicted_kv_bytes size"),
            ),
        )
    ),
    LogLine(
        b"total memory", rf'msg="total memory" size={SIZE}', says("predicted_total_bytes size", keep="last")
    ),
    *(
        LogLine(
            f'msg="{name}" '.encode(),
            rf'msg="{name}" {DEVICE} size={SIZE}',
            (Said("device", "place"), Said(word, "size", "last", PREDICTED)),
        )
        for name, word in (
            ("model weights", "weights_bytes"),
            ("kv cache", "kv_bytes"),
            ("compute graph", "compute_buffer_bytes"),
        )
    ),
    LogLine(b"KvSize:", r"\bParallel:(\d+)\b", says("max_num_seqs count", rank=1)),
    LogLine(b"KvSize:", r"\bKvSize:(\d+)\b", says("context count", rank=1)),
    LogLine(b"KvCacheType:", r"\bKvCacheType:([a-z]\w+)", says("kv_cache_dtype text")),
    *(
        LogLine(anchor, rf"\btime=(\d{{4}}-\d\d)-\d\dT.*{re.escape(anchor.decode())}", says("month text"))
        for anchor in (b"inference compute", b"starting runner", b"starting llama server", b"Listening on")
    ),
    LogLine(b"runner started in", r"llama(?: runner|-server) started in", (), "ready"),
    LogLine(b"Load failed", r'msg="Load failed"', (), "failed"),
)
LOG = LogReader(
    "ollama",
    (*OLLAMA, *(line for line in LLAMA if line.turn != "start")),
    wakes=(b"loaded meta data",),
    names_devices=True,
    host_buffers=HOST_BUFFERS,
    holds=LLAMACPP_LOG.name,
    carries=("engine_version", "gpu", "gpu_memory_bytes", "gpu_free_bytes"),
)
