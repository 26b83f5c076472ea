"""Four clients that fit one matrix, run by Flower's own engine: prints what came out and what was sent.

Run with the interpreter of an environment that has flwr: `python flower_clients.py int8`; `plain` is Flower's
own FedAvg.
"""

import json
import sys
from importlib import import_module
from typing import Any

import numpy as np

ROUNDS, CLIENTS, WIDTH, STEPS = 12, 4, 64, 5
WANTED = np.random.default_rng(0).standard_normal((WIDTH, WIDTH)).astype(np.float32)


def fitted(weights: Any, seed: int) -> Any:
    """A few steps of gradient descent on a client's own examples."""
    chance = np.random.default_rng(seed)
    for _ in range(STEPS):
        inputs = chance.standard_normal((128, WIDTH)).astype(np.float32)
        weights = weights - 0.1 * inputs.T @ (inputs @ weights - inputs @ WANTED) / 128
    return weights.astype(np.float32)


def main() -> None:
    parts: Any = import_module("flwr.app")
    client_side: Any = import_module("flwr.clientapp")
    server_side: Any = import_module("flwr.serverapp")
    strategies: Any = import_module("flwr.serverapp.strategy")
    simulation: Any = import_module("flwr.simulation")

    from oomless.compress.gradients.federated import client_mod, strategy

    way: Any = sys.argv[1]
    client = client_side.ClientApp(mods=[] if way == "plain" else [client_mod(way, 0.05)])

    def train(message: Any, context: Any) -> Any:
        weights = message.content["arrays"]["w"].numpy()
        seed = int(context.node_config["partition-id"]) + 100 * message.content["config"]["server-round"]
        content = {
            "arrays": parts.ArrayRecord({"w": parts.Array(fitted(weights, seed))}),
            "metrics": parts.MetricRecord({"num-examples": 128}),
        }
        return parts.Message(parts.RecordDict(content), reply_to=message)

    server = server_side.ServerApp()

    def serve(grid: Any, context: Any) -> None:
        words = {"fraction_evaluate": 0.0, "min_available_nodes": CLIENTS, "min_train_nodes": CLIENTS}
        used = strategies.FedAvg(**words) if way == "plain" else strategy(way, **words)
        start = parts.ArrayRecord({"w": parts.Array(np.zeros_like(WANTED))})
        found = used.start(grid=grid, initial_arrays=start, num_rounds=ROUNDS).arrays["w"].numpy()
        answer = {
            "error": float(np.square(found - WANTED).sum() / np.square(WANTED).sum()),
            "up": getattr(used, "up_bytes", 0),
            "down": getattr(used, "down_bytes", 0),
        }
        print("RESULT", json.dumps(answer), flush=True)

    client.train()(train)
    server.main()(serve)
    simulation.run_simulation(
        server_app=server,
        client_app=client,
        num_supernodes=CLIENTS,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )


if __name__ == "__main__":
    main()
