"""Many machines that differ and fail, simulated: when the last shard is done, what was done twice.

batch.py measures what a picture takes and asks this for 10^8 of them.
"""

import heapq

import numpy as np

MACHINES, CORES = 100, 16
HUNDRED_MILLION = 100_000_000


def table(seconds: np.ndarray, seed: int) -> None:
    """Prints makespan, and work done twice, for shards of several sizes and machines that fail."""
    ideal = HUNDRED_MILLION * seconds.mean() / (MACHINES * CORES)
    print(f"\nideal: {ideal / 3600:.2f} h on {MACHINES} machines of {CORES} cores")
    print("| pictures a shard | machines fail every | hours | over the ideal | done twice |")
    print("|---|---|---|---|---|")
    for per_shard in (100, 1000, 10_000):
        for hours, name in ((float("inf"), "never"), (720.0, "30 days"), (8.0, "8 hours")):
            taken, twice = simulated(seconds, per_shard, 3600 * hours, seed)
            print(f"| {per_shard} | {name} | {taken / 3600:.2f} | {taken / ideal - 1:.1%} | "
                  f"{twice:.2%} |")  # fmt: skip


def simulated(seconds: np.ndarray, per_shard: int, fails: float, seed: int) -> tuple[float, float]:
    """Seconds until the last shard is done, and the share of work that was lost.

    A shard takes the sum of so many pictures (normal, by the measured mean and deviation), times
    its machine's speed: lognormal with a deviation of 10 %, and one machine in fifty at a third. A
    machine fails at exponential intervals, loses what it has begun, and is back after 5 minutes;
    its shards are given to whoever is free next.
    """
    draw = np.random.default_rng(seed)
    speed = np.exp(draw.normal(0, 0.1, MACHINES))
    speed[:: MACHINES // 2] *= 3
    mean, spread = seconds.mean() * per_shard, seconds.std() * per_shard**0.5
    left = HUNDRED_MILLION // per_shard
    down = draw.exponential(fails, MACHINES) if np.isfinite(fails) else np.full(MACHINES, np.inf)
    events = [(0.0, machine) for machine in range(MACHINES) for _ in range(CORES)]
    heapq.heapify(events)
    end = lost = done = 0.0
    while left:
        now, its = heapq.heappop(events)
        while down[its] <= now:  # it failed while this core was idle or at its end
            down[its] += draw.exponential(fails)
        took = max(draw.normal(mean, spread), 0.1 * mean) * speed[its]
        if now + took > down[its]:
            lost += max(down[its] - now, 0)
            heapq.heappush(events, (down[its] + 300, its))
            continue
        left -= 1
        done += took
        end = max(end, now + took)
        heapq.heappush(events, (now + took, its))
    return end, lost / (lost + done)
