"""Files that run the parts of a request on a cluster: its own engine starts them, nothing here does."""

import json
import shlex

from ..files import safe_name
from .weights import CompressRequest

MEMORY = "2Gi"
"""What a part is given; it takes a tenth of it."""


def words_of(request: CompressRequest, out: str) -> list[str]:
    """Return the command line of a request, without its part."""
    words = ["oomless", "compress", request.source, "--to", request.to, "--out", out]
    words += [word for name in request.keep for word in ("--keep", name)]
    words += [word for name in request.skip for word in ("--skip", name)]
    return words + [word for name, form in request.formats for word in ("--format", f"{name}={form}")]


def part_files(request: CompressRequest, out: str, num_parts: int) -> dict[str, str]:
    """Return files by name: a Slurm array, a Kubernetes Indexed Job and a Ray script, each of which runs all
    parts and then joins them. All machines must see the source and the folder under the same paths.

    >>> sorted(part_files(CompressRequest("/models/v3", "int4"), "/models/v3-int4", 16))
    ['kubernetes.yaml', 'ray_parts.py', 'slurm.sh']
    """
    words, join = words_of(request, out), ["oomless", "compress", "--join", out]
    return {
        "slurm.sh": slurm(words, join, num_parts),
        "kubernetes.yaml": kubernetes(words, join, num_parts, safe_name(request.to)),
        "ray_parts.py": ray(words, join, num_parts),
    }


def slurm(words: list[str], join: list[str], num_parts: int) -> str:
    """Return a script to run once by hand: it submits the array, and the join behind it."""
    part = f"{shlex.join(words)} --part $SLURM_ARRAY_TASK_ID/{num_parts}"
    return "\n".join(
        [
            "#!/bin/sh",
            "# sh slurm.sh: submits the parts, and the join after the last of them",
            "set -e",
            f"parts=$(sbatch --parsable --job-name=compress --array=1-{num_parts} --cpus-per-task=2 \\",
            f"  --mem=2G --wrap={shlex.quote(part)})",
            'sbatch --dependency="afterok:$parts" --job-name=compress-join --mem=1G \\',
            f"  --wrap={shlex.quote(shlex.join(join))}",
            "",
        ]
    )


def kubernetes(words: list[str], join: list[str], num_parts: int, name: str) -> str:
    """Return an Indexed Job for the parts and a Job that joins: apply the second when the first is complete.

    The image must have oomless; the volume is the reader's own, named `models` here. JSON strings are YAML.
    """
    job = "compress-" + "".join(char if char.isalnum() else "-" for char in name.lower())
    shell = f'{shlex.join(words)} --part "$((JOB_COMPLETION_INDEX + 1))/{num_parts}"'
    documents = []
    for kind, command, more in (
        (job, shell, {"completions": num_parts, "parallelism": num_parts, "completionMode": "Indexed"}),
        (f"{job}-join", shlex.join(join), {"completions": 1}),
    ):
        container = {
            "name": "compress",
            "image": "oomless:latest",
            "command": ["sh", "-c", command],
            "resources": {"requests": {"cpu": "2", "memory": MEMORY}, "limits": {"memory": MEMORY}},
            "volumeMounts": [{"name": "models", "mountPath": "/models"}],
        }
        volume = {"name": "models", "persistentVolumeClaim": {"claimName": "models"}}
        pod = {"restartPolicy": "Never", "containers": [container], "volumes": [volume]}
        documents.append(
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {"name": kind},
                "spec": {**more, "backoffLimit": 6, "template": {"spec": pod}},
            }
        )
    return "---\n".join(json.dumps(each, indent=2) + "\n" for each in documents)


def ray(words: list[str], join: list[str], num_parts: int) -> str:
    """Return a script for `ray job submit -- python ray_parts.py`."""
    return "\n".join(
        [
            '"""Runs all parts on a Ray cluster, then joins them."""',
            "",
            "import subprocess",
            "",
            "import ray",
            "",
            f"WORDS = {json.dumps(words)}",
            f"JOIN = {json.dumps(join)}",
            f"NUM_PARTS = {num_parts}",
            "",
            "",
            "@ray.remote(num_cpus=2, max_retries=3)",
            "def part(number):",
            '    subprocess.run([*WORDS, "--part", f"{number}/{NUM_PARTS}"], check=True)',
            "",
            "",
            "ray.init()",
            "ray.get([part.remote(number) for number in range(1, NUM_PARTS + 1)])",
            "subprocess.run(JOIN, check=True)",
            "",
        ]
    )
