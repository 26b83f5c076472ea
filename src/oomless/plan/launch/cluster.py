"""One serving command -> what clusters want: Ray, Kubernetes (LeaderWorkerSet), Slurm, SkyPilot."""

import shlex
from typing import Any

from ... import facts
from ...engines import LLAMA, VLLM, engine
from ...run.hardware import Hardware
from ...run.serving import Asked
from ..cards import short_name
from .emit import yaml

PORT, JOIN_PORT = 8000, 20000
DEVICES = {
    "NVIDIA": "nvidia.com/gpu",
    "AMD": "amd.com/gpu",
    "Intel": "habana.ai/gaudi",
    "Huawei": "huawei.com/Ascend910",
    "Google": "google.com/tpu",
}
"""Resource of each maker's device plugin."""


def cluster_files(
    name: str, command: str, asked: Asked, hardware: Hardware, num_nodes: int
) -> dict[str, str]:
    """Files by name. One machine needs none but SkyPilot's, which rents it; several need a way to find each
    other."""
    files: dict[str, str] = {}
    sky = sky_name(hardware)
    if sky and asked.engine in (*VLLM, "sglang"):
        files["sky.yaml"] = sky_yaml(name, command, asked, hardware, num_nodes, sky)
    if num_nodes == 1:
        return files
    if asked.engine in VLLM:
        files["ray.sh"] = ray_script(command, num_nodes)
    if asked.engine in (*VLLM, "sglang"):
        files["leaderworkerset.yaml"] = leader_worker_set(name, command, asked, hardware, num_nodes)
    if asked.engine not in LLAMA:
        files["serve.sbatch"] = slurm_script(name, command, asked, hardware, num_nodes)
    return files


def sky_name(hardware: Hardware) -> str:
    """SkyPilot's name of the cards; "" where it rents none."""
    short = short_name(hardware.card)
    return next((row["skypilot"] for row in facts.table("cluster_names") if row["card"] == short), "")


def joined(command: str, asked: Asked, nodes: str, rank: str, leader: str) -> str:
    """The command as each of several machines runs it; the variables are its place among them."""
    if asked.engine in VLLM:
        return f"{command} --nnodes {nodes} --node-rank {rank} --master-addr {leader}"
    return f"{command} --nnodes {nodes} --node-rank {rank} --dist-init-addr {leader}:{JOIN_PORT}"


def headless(asked: Asked) -> str:
    """What vLLM's machines but the first add: they serve no requests."""
    return " --headless" if asked.engine in VLLM else ""


def image(asked: Asked) -> str:
    """The engine's own container image of the release."""
    version = asked.engine_version or engine(asked.engine).LATEST
    return f"vllm/vllm-openai:v{version}" if asked.engine in VLLM else f"lmsysorg/sglang:v{version}"


def ray_script(command: str, num_nodes: int) -> str:
    """Ray over all machines, then one command on the first: `HEAD=10.0.0.1 ./ray.sh head`, `HEAD=10.0.0.1
    ./ray.sh worker`."""
    return f"""#!/bin/bash
# On the first machine: HEAD=<its address> ./ray.sh head
# On each of the other {num_nodes - 1}: HEAD=<the first one's address> ./ray.sh worker
set -euo pipefail
: "${{HEAD:?address of the first machine}}"
if [ "${{1:-}}" = worker ]; then
  exec ray start --address="$HEAD:6379" --block
fi
ray start --head --port=6379 --node-ip-address="$HEAD"
until [ "$(ray list nodes --filter state=ALIVE --format json | grep -c '"node_id"')" -ge {num_nodes} ]; do sleep 5; done
exec {command} --distributed-executor-backend ray --host 0.0.0.0 --port {PORT}
"""


def leader_worker_set(name: str, command: str, asked: Asked, hardware: Hardware, num_nodes: int) -> str:
    """A LeaderWorkerSet: one group of machines that live and die together, and a service before its
    leader."""
    each = joined(command, asked, "$(LWS_GROUP_SIZE)", "$(LWS_WORKER_INDEX)", "$(LWS_LEADER_ADDRESS)")

    def pod(role: str, extra: str) -> dict[str, Any]:
        container: dict[str, Any] = {
            "name": role,
            "image": image(asked),
            "env": [
                {
                    "name": "HF_TOKEN",
                    "valueFrom": {"secretKeyRef": {"name": "hf-token", "key": "token", "optional": True}},
                }
            ],
            "command": ["sh", "-c", each + extra],
            "resources": {
                "limits": {DEVICES.get(hardware.card.vendor, "nvidia.com/gpu"): str(hardware.per_node)}
            },
            "volumeMounts": [{"mountPath": "/dev/shm", "name": "dshm"}],
        }
        if role == "leader":
            container["ports"] = [{"containerPort": PORT}]
            container["readinessProbe"] = {
                "httpGet": {"path": "/health", "port": PORT},
                "periodSeconds": 10,
                "failureThreshold": 360,
            }
        return {
            "metadata": {"labels": {"role": role}},
            "spec": {
                "containers": [container],
                "volumes": [{"name": "dshm", "emptyDir": {"medium": "Memory", "sizeLimit": "16Gi"}}],
            },
        }

    label = kubernetes_name(name)
    serve = f" --host 0.0.0.0 --port {PORT}"
    group = {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {"name": label},
        "spec": {
            "replicas": 1,
            "leaderWorkerTemplate": {
                "size": num_nodes,
                "restartPolicy": "RecreateGroupOnPodRestart",
                "leaderTemplate": pod("leader", serve),
                "workerTemplate": pod("worker", headless(asked)),
            },
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": label},
        "spec": {
            "ports": [{"name": "http", "port": PORT, "targetPort": PORT}],
            "selector": {"leaderworkerset.sigs.k8s.io/name": label, "role": "leader"},
        },
    }
    return f"{yaml(group)}---\n{yaml(service)}"


def kubernetes_name(name: str) -> str:
    """A label that Kubernetes takes.

    >>> kubernetes_name("DeepSeek-V3.2_exp")
    'deepseek-v3-2-exp'
    """
    return (
        "".join(char if char.isascii() and char.isalnum() else "-" for char in name.lower())[
            :MAX_LABEL
        ].strip("-")
        or "model"
    )


MAX_LABEL = 52


def slurm_script(name: str, command: str, asked: Asked, hardware: Hardware, num_nodes: int) -> str:
    """One task a machine; the first is the leader."""
    head = f"""#!/bin/bash
#SBATCH --job-name={kubernetes_name(name)}
#SBATCH --nodes={num_nodes}
#SBATCH --gpus-per-node={hardware.per_node}
#SBATCH --exclusive
"""
    if asked.engine == "trtllm":
        tasks = f"#SBATCH --ntasks-per-node={hardware.per_node}\nset -euo pipefail\n"
        return f"{head}{tasks}srun --mpi=pmix trtllm-llmapi-launch {command} --host 0.0.0.0 --port {PORT}\n"
    each = joined(command, asked, "$SLURM_NNODES", "$SLURM_NODEID", "$HEAD")
    serve = f"--host 0.0.0.0 --port {PORT}"
    last = f'if [ "$SLURM_NODEID" -eq 0 ]; then exec {each} {serve}; else exec {each}{headless(asked)}; fi'
    return f"""{head}#SBATCH --ntasks-per-node=1
set -euo pipefail
HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export HEAD
srun bash -c {shlex.quote(last)}
"""


def sky_yaml(
    name: str, command: str, asked: Asked, hardware: Hardware, num_nodes: int, accelerator: str
) -> str:
    """A SkyPilot task: rent the machines, install the release, start it."""
    version = asked.engine_version or engine(asked.engine).LATEST
    package = f"vllm=={version}" if asked.engine in VLLM else f"sglang[all]=={version}"
    gpus = (
        hardware.per_node if num_nodes > 1 else asked.layout.num_ranks if asked.layout else hardware.num_gpus
    )
    serve = f"--host 0.0.0.0 --port {PORT}"
    if num_nodes == 1:
        run = f"{command} {serve}\n"
    else:
        each = joined(command, asked, "$SKYPILOT_NUM_NODES", "$SKYPILOT_NODE_RANK", "$HEAD")
        run = f"""HEAD=$(echo "$SKYPILOT_NODE_IPS" | head -n 1)
if [ "$SKYPILOT_NODE_RANK" -eq 0 ]; then
  {each} {serve}
else
  {each}{headless(asked)}
fi
"""
    task: dict[str, Any] = {
        "name": kubernetes_name(name),
        "resources": {"accelerators": {accelerator: gpus}, "ports": PORT},
        "num_nodes": num_nodes,
        "setup": f"pip install '{package}'\n",
        "run": run,
    }
    return yaml(task)
