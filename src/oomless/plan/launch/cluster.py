"""One serving command -> what clusters want: Ray, Kubernetes (LeaderWorkerSet), Slurm, SkyPilot."""

from typing import Any, NamedTuple

from ... import facts
from ...engines import engine
from ...facts.options import DEFAULT_ENGINE
from ...files import safe_name
from ...run.card_names import offered_name
from ...run.cards import Hardware
from ...run.serving import Asked
from . import Code, FileText
from .documents import yaml
from .shell import command as words
from .shell import comment, lines, script

PORT = 8000
DEVICES = {
    "NVIDIA": "nvidia.com/gpu",
    "AMD": "amd.com/gpu",
    "Intel": "habana.ai/gaudi",
    "Huawei": "huawei.com/Ascend910",
    "Google": "google.com/tpu",
}
"""Resource of each maker's device plugin."""


class ServingJob(NamedTuple):
    """One serving command and the machines that run it."""

    name: str
    command: Code
    asked: Asked
    hardware: Hardware
    num_nodes: int
    ports: tuple[int, ...] = (PORT,)
    """The first takes requests."""
    packages: str = ""
    """What is installed beside the release."""

    def joined(self, nodes: str, rank: str, leader: str) -> Code:
        """Return the command as each of several machines runs it; the variables are its place among them."""
        joining = engine(self.asked.engine).start.joining
        assert joining, f"{self.asked.engine} is not told of several machines by flags"
        address = leader if joining.port is None else f"{leader}:{joining.port}"
        place = ("--nnodes", Code(nodes), "--node-rank", Code(rank), joining.address_flag, Code(address))
        return words(self.command, *place)

    @property
    def told(self) -> Code:
        """What the machine that takes requests adds to its command."""
        return serve(self.ports[0], self.asked.engine)

    @property
    def image(self) -> str:
        """The engine's own container image of the release."""
        record = engine(self.asked.engine)
        return record.start.image.format(version=self.asked.engine_version or record.latest)


def cluster_files(job: ServingJob) -> dict[str, FileText]:
    """Return files by name. One machine needs none but SkyPilot's, which rents it and installs the release;
    several need a way to find each other."""
    files: dict[str, FileText] = {}
    sky, start = sky_name(job.hardware), engine(job.asked.engine).start
    if sky and start.package:
        files["sky.yaml"] = sky_yaml(job, sky)
    if job.num_nodes == 1:
        return files
    if start.over_ray:
        files["ray.sh"] = ray_script(job)
    if start.image and start.joining:
        files["leaderworkerset.yaml"] = leader_worker_set(job)
    if start.joining or start.mpi_launcher:
        files["serve.sbatch"] = slurm_script(job)
    return files


def sky_name(hardware: Hardware) -> str:
    """SkyPilot's name of the cards; "" where it rents none."""
    short = offered_name(hardware)
    return next((row["skypilot"] for row in facts.table("cluster_names") if row["card"] == short), "")


def on_each(job: ServingJob) -> Code:
    """Return what each of several machines runs, as launch.sh has it; "" on one machine."""
    start = engine(job.asked.engine).start
    if job.num_nodes > 1 and start.mpi_launcher:
        told = f"One task of MPI a card of {job.num_nodes} machines: see serve.sbatch"
        return lines(comment(told), words(Code("exec"), start.mpi_launcher, job.command))
    if job.num_nodes == 1 or not start.joining:
        return Code("")
    each = job.joined(str(job.num_nodes), "$NODE_RANK", "$HEAD")
    return lines(
        Code('if [ "$NODE_RANK" -eq 0 ]; then'),
        words(Code("  exec"), each, job.told),
        Code("fi"),
        words(Code("exec"), worker(each, job.asked)),
    )


def serve(port: int, by: str = DEFAULT_ENGINE) -> Code:
    """Return what the machine that takes requests adds."""
    host, flag = engine(by).start.told
    return words(host, "0.0.0.0", flag, str(port))


def worker(command: Code, asked: Asked) -> Code:
    """Return the command of a machine that takes no requests, which some engines must be told."""
    joining = engine(asked.engine).start.joining
    return words(command, *joining.worker) if joining and joining.worker else command


def ray_script(job: ServingJob) -> FileText:
    """Return Ray over all machines, then one command on the first: `HEAD=10.0.0.1 ./ray.sh head`, `HEAD=10.0.0.1
    ./ray.sh worker`."""
    alive = """ray list nodes --filter state=ALIVE --format json | grep -c '"node_id"'"""
    return script(
        "/bin/bash",
        Code("# On the first machine: HEAD=<its address> ./ray.sh head"),
        Code(f"# On each of the other {job.num_nodes - 1}: HEAD=<the first one's address> ./ray.sh worker"),
        Code("set -euo pipefail"),
        Code(': "${HEAD:?address of the first machine}"'),
        Code('if [ "${1:-}" = worker ]; then'),
        Code('  exec ray start --address="$HEAD:6379" --block'),
        Code("fi"),
        Code('ray start --head --port=6379 --node-ip-address="$HEAD"'),
        Code(f'until [ "$({alive})" -ge {job.num_nodes} ]; do sleep 5; done'),
        words(Code("exec"), job.command, "--distributed-executor-backend", "ray", job.told),
    )


def leader_worker_set(job: ServingJob) -> FileText:
    """Return a LeaderWorkerSet: one group of machines that live and die together, and a service before its
    leader.

    Kubernetes replaces $(NAME) in a command before any shell sees it, and reads $$ as one dollar.
    """
    told = job._replace(command=Code(job.command.replace("$", "$$")))
    each = told.joined("$(LWS_GROUP_SIZE)", "$(LWS_WORKER_INDEX)", "$(LWS_LEADER_ADDRESS)")
    label = kubernetes_name(job.name)
    group = {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {"name": label},
        "spec": {
            "replicas": 1,
            "leaderWorkerTemplate": {
                "size": job.num_nodes,
                "restartPolicy": "RecreateGroupOnPodRestart",
                "leaderTemplate": pod(job, "leader", words(each, job.told)),
                "workerTemplate": pod(job, "worker", worker(each, job.asked)),
            },
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": label},
        "spec": {
            "ports": [
                {"name": name, "port": port, "targetPort": port}
                for name, port in zip(("http", "bootstrap"), job.ports, strict=False)
            ],
            "selector": {"leaderworkerset.sigs.k8s.io/name": label, "role": "leader"},
        },
    }
    return yaml(group, service)


def pod(job: ServingJob, role: str, start: Code) -> dict[str, Any]:
    """Return the template of a group's leader or of its workers; the leader alone answers."""
    token = {"secretKeyRef": {"name": "hf-token", "key": "token", "optional": True}}
    container: dict[str, Any] = {
        "name": role,
        "image": job.image,
        "env": [{"name": "HF_TOKEN", "valueFrom": token}],
        "command": ["sh", "-c", start],
        "resources": {
            "limits": {DEVICES.get(job.hardware.card.vendor, "nvidia.com/gpu"): str(job.hardware.per_node)}
        },
        "volumeMounts": [{"mountPath": "/dev/shm", "name": "dshm"}],
    }
    if role == "leader":
        container["ports"] = [{"containerPort": job.ports[0]}]
        container["readinessProbe"] = {
            "httpGet": {"path": "/health", "port": job.ports[0]},
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


def kubernetes_name(name: str) -> str:
    """A label that Kubernetes takes.

    >>> kubernetes_name("DeepSeek-V3.2_exp")
    'deepseek-v3-2-exp'
    """
    return safe_name(name.lower(), most=MAX_LABEL)


MAX_LABEL = 52


def slurm_script(job: ServingJob) -> FileText:
    """Return one task a machine; the first is the leader."""
    head = lines(
        Code(f"#SBATCH --job-name={kubernetes_name(job.name)}"),
        Code(f"#SBATCH --nodes={job.num_nodes}"),
        Code(f"#SBATCH --gpus-per-node={job.hardware.per_node}"),
        Code("#SBATCH --exclusive"),
    )
    if launcher := engine(job.asked.engine).start.mpi_launcher:
        return script(
            "/bin/bash",
            head,
            Code(f"#SBATCH --ntasks-per-node={job.hardware.per_node}"),
            Code("set -euo pipefail"),
            words("srun", "--mpi=pmix", launcher, job.command, job.told),
        )
    each = job.joined("$SLURM_NNODES", "$SLURM_NODEID", "$HEAD")
    first, other = words(Code("exec"), each, job.told), words(Code("exec"), worker(each, job.asked))
    task = f'if [ "$SLURM_NODEID" -eq 0 ]; then {first}; else {other}; fi'
    return script(
        "/bin/bash",
        head,
        Code("#SBATCH --ntasks-per-node=1"),
        Code("set -euo pipefail"),
        FIND_HEAD,
        words("srun", "bash", "-c", task),
    )


FIND_HEAD = lines(
    Code('HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)'), Code("export HEAD")
)


def sky_yaml(job: ServingJob, accelerator: str) -> FileText:
    """Return a SkyPilot task: rent the machines, install the release, start it."""
    asked, hardware = job.asked, job.hardware
    record = engine(asked.engine)
    package = record.start.package.format(version=asked.engine_version or record.latest)
    gpus = (
        hardware.per_node
        if job.num_nodes > 1
        else asked.layout.num_ranks
        if asked.layout
        else hardware.num_gpus
    )
    if job.num_nodes == 1:
        run = words(job.command, job.told)
    else:
        each = job.joined("$SKYPILOT_NUM_NODES", "$SKYPILOT_NODE_RANK", "$HEAD")
        run = lines(
            Code('HEAD=$(echo "$SKYPILOT_NODE_IPS" | sed -n 1p)'),
            Code('if [ "$SKYPILOT_NODE_RANK" -eq 0 ]; then'),
            words(Code(" "), each, job.told),
            Code("else"),
            words(Code(" "), worker(each, asked)),
            Code("fi"),
        )
    task: dict[str, Any] = {
        "name": kubernetes_name(job.name),
        "resources": {
            "accelerators": {accelerator: gpus},
            "ports": list(job.ports) if len(job.ports) > 1 else job.ports[0],
        },
        "num_nodes": job.num_nodes,
        "setup": lines(words("pip", "install", package, *job.packages.split()), Code("")),
        "run": lines(run, Code("")),
    }
    return yaml(task)
