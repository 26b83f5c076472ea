"""What a framework itself says of the files and commands that are written for it.

Run with the interpreter of an environment that has the framework: `python own_parsers.py vllm < items.json`.
An item is a command's words, or a file with the number of its ranks; the answer is one line of JSON: for each
item what the framework refuses, "" if nothing. Nothing of ours is imported here.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def vllm(words: list[str]) -> None:
    """The parser of `vllm serve`, and the checks of its engine's arguments."""
    cli = import_module("vllm.entrypoints.launchers.cli_args")
    parser = cli.make_arg_parser(
        import_module("vllm.utils.argparse_utils").FlexibleArgumentParser(exit_on_error=False)
    )
    args = parser.parse_args(words)
    args.model = args.model_tag or args.model
    cli.validate_parsed_serve_args(args)
    import_module("vllm.engine.arg_utils").AsyncEngineArgs.from_cli_args(args)
    methods = import_module("vllm.model_executor.layers.quantization").QUANTIZATION_METHODS
    if args.quantization is not None and args.quantization not in methods:
        raise ValueError(f"--quantization {args.quantization} is not one of {', '.join(methods)}")


def sglang(words: list[str]) -> None:
    """SGLang's own arguments."""
    import argparse

    server = import_module("sglang.srt.server_args").ServerArgs
    parser = argparse.ArgumentParser(exit_on_error=False)
    server.add_cli_args(parser)
    parser.parse_args(words)


def deepspeed(item: dict[str, Any]) -> None:
    """DeepSpeed's configuration class, told how many ranks there are."""
    ranks = type("Ranks", (), {"get_data_parallel_world_size": staticmethod(lambda: item["ranks"])})()
    module = import_module("deepspeed.runtime.config")
    module.__dict__["dist"] = type(
        "Started", (), {"get_rank": staticmethod(lambda: 0), "is_initialized": staticmethod(lambda: True)}
    )()
    config = module.DeepSpeedConfig(json.loads(item["text"]), mpu=ranks)
    fields = import_module("deepspeed.runtime.zero.config").DeepSpeedZeroConfig.model_fields
    known = {word for name, field in fields.items() for word in (name, field.alias)}
    if extra := set(json.loads(item["text"])["zero_optimization"]) - known:
        raise ValueError(f"zero_optimization has no {', '.join(sorted(extra))}")
    assert config.zero_optimization_stage == json.loads(item["text"])["zero_optimization"]["stage"]


def torchtitan(item: dict[str, Any]) -> None:
    """torchtitan's reader of --job.config_file, and its check of the mesh."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "job.toml")
        path.write_text(item["text"], encoding="utf-8")
        config = (
            import_module("torchtitan.config").ConfigManager().parse_args(["--job.config_file", str(path)])
        )
    mesh = config.parallelism
    import_module("torchtitan.distributed").ParallelDims(
        dp_replicate=mesh.data_parallel_replicate_degree,
        dp_shard=mesh.data_parallel_shard_degree,
        cp=mesh.context_parallel_degree,
        tp=mesh.tensor_parallel_degree,
        pp=mesh.pipeline_parallel_degree,
        ep=mesh.expert_parallel_degree,
        etp=mesh.expert_tensor_parallel_degree,
        world_size=item["ranks"],
    )
    specs = import_module("torchtitan.protocols.train_spec").get_train_spec(config.model.name)
    if config.model.flavor not in specs.model_args:
        raise ValueError(f"{config.model.name} has no flavor {config.model.flavor}")


def axolotl(item: dict[str, Any]) -> None:
    """Axolotl's schema with the cards that it will see, and no entry that it would pass over."""
    config = import_module("yaml").safe_load(item["text"])
    manager = import_module("axolotl.integrations.base").PluginManager()
    manager.plugins.clear()
    for plugin in config.get("plugins", ()):
        manager.register(plugin)
        if plugin not in manager.plugins:
            raise ValueError(f"there is no plugin {plugin}")
    schema = import_module("axolotl.integrations.config").merge_input_args()[0]
    cards = {
        "bf16": True,
        "fp8": True,
        "tf32": True,
        "n_gpu": item["ranks"],
        "n_node": 1,
        "compute_capability": "sm_90",
    }
    schema(**config, capabilities=cards, env_capabilities={"torch_version": "2.11.0"})
    names = {alias for name, field in schema.model_fields.items() for alias in (name, field.alias)}
    if extra := set(config) - names:
        raise ValueError(f"the schema has no {', '.join(sorted(extra))}")


def trl(item: dict[str, Any]) -> None:
    """The argument classes of `trl sft`: an entry that none of them has is refused."""
    parser = import_module("trl.scripts.sft").make_parser()
    config = import_module("yaml").safe_load(item["text"])
    parser.parse_dict({**config, "use_cpu": True})


def llama_factory(item: dict[str, Any]) -> None:
    """LLaMA-Factory's argument classes: an entry that none of them has is refused."""
    parser = import_module("transformers").HfArgumentParser(
        import_module("llamafactory.hparams.parser")._TRAIN_ARGS
    )
    config = import_module("yaml").safe_load(item["text"])
    with tempfile.TemporaryDirectory() as folder:
        if "deepspeed" in config:
            config["deepspeed"] = str(Path(folder, config["deepspeed"]))
            Path(config["deepspeed"]).write_text(item["beside"], encoding="utf-8")
        parser.parse_dict(
            {**config, "use_cpu": True}
        )  # as this machine must; bf16 is refused on it otherwise


def megatron(item: dict[str, Any]) -> None:
    """Megatron-LM's arguments, their checks with as many ranks, and the configuration that its layers are
    built of, on a machine that says it has Hopper's cards and Transformer Engine."""
    import_module("typing").__dict__.setdefault("override", lambda method: method)  # Python 3.12's
    core = import_module("megatron.core.utils")
    core.__dict__["_te_version"] = core.PkgVersion("2.9.0")
    rope = import_module("megatron.core.models.common.embeddings.rope_utils")
    rope.__dict__["fused_apply_rotary_pos_emb"] = rope.__dict__["_apply_rotary_pos_emb_bshd"]
    module = import_module("megatron.training.arguments")
    module.__dict__["get_device_arch_version"] = lambda: 9
    import_module("torch.cuda").__dict__["get_device_capability"] = lambda: (9, 0)
    os.environ.pop("CUDA_DEVICE_MAX_CONNECTIONS", None)
    os.environ |= {"WORLD_SIZE": str(item["ranks"]), **item["variables"]}
    sys.argv = ["pretrain_gpt.py", *item["text"].split()]
    args = module.validate_args(module.parse_args())
    config = module.core_transformer_config_from_args(args)
    assert config.num_layers == args.num_layers
    assert args.data_parallel_size * args.micro_batch_size <= args.global_batch_size


FRAMEWORKS: dict[str, Callable[[Any], None]] = {
    "vllm": vllm,
    "sglang": sglang,
    "deepspeed": deepspeed,
    "torchtitan": torchtitan,
    "axolotl": axolotl,
    "trl": trl,
    "llama-factory": llama_factory,
    "megatron-lm": megatron,
}


def said(check: Callable[[Any], None], item: Any) -> str:
    """What is refused; "" if nothing."""
    try:
        check(item)
    except (Exception, SystemExit) as error:
        return f"{type(error).__name__}: {error}"
    return ""


if __name__ == "__main__":
    asked = FRAMEWORKS[sys.argv[1]]
    answers = [said(asked, item) for item in json.load(sys.stdin)]
    sys.stdout.write("\n" + json.dumps(answers) + "\n")
