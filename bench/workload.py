"""CPU time of simulated workloads: 10,000 requests under each policy, and one closed form."""

import time

REQUESTS = 10_000


def main() -> None:
    """Print the table."""
    import oomless
    from oomless.speed.batching import MEMORY
    from oomless.speed.dynamic import policy_of, run_workload
    from oomless.speed.serving import serving_speed
    from oomless.speed.setup import setup_of
    from oomless.speed.workload import parse_lengths, poisson

    estimate = oomless.infer("deepseek-r1", "h200:8", tp=8, max_model_len=16384).estimate
    setup = setup_of(estimate)
    prompts, outputs = parse_lengths("100-3000", "--input-len"), parse_lengths("50-800", "--output-len")
    print(f"{'DeepSeek-R1 on 8 x H200, CPU time':<60} {'ms':>8}")
    for rate in (2.0, 8.0):
        requests = poisson(rate, REQUESTS, prompts, outputs, 0)
        for memory in MEMORY:
            best = float("inf")
            for _ in range(3):
                start = time.process_time()
                run_workload(estimate, requests, policy_of(estimate, setup, memory))
                best = min(best, time.process_time() - start)
            print(f"{f'{REQUESTS:,} requests, {rate:g} a second, {memory}':<60} {1000 * best:>8.1f}")
    best = float("inf")
    for _ in range(200):
        start = time.process_time()
        serving_speed(estimate, input_len=2000, output_len=500, concurrency=32)
        best = min(best, time.process_time() - start)
    print(f"{'closed form of one load':<60} {1000 * best:>8.3f}")


if __name__ == "__main__":
    main()
