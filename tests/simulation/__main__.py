"""Run many seeds (``--seeds 1000``), or replay one (``--seed 7 --shrink --verbose``).

``--fingerprint`` prints a hash of what happened for each focus instead: compare it before and after a refactoring.
With ``--verbose`` it prints one for each seed too, so that a ``diff`` of two outputs names the seeds that changed.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import sys
import time
from collections.abc import Iterable

from tests.simulation.fingerprint import fingerprint
from tests.simulation.history import show
from tests.simulation.profile import FOCUSES
from tests.simulation.run import case, run
from tests.simulation.shrink import shrink, source

REPLAY = "python -m tests.simulation --seed {}{} --shrink --verbose"


def main() -> int:
    """The command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__, formatter_class=formatter)
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--start", type=int, default=0, help="the first")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--verbose", action="store_true", help="print what happened")
    parser.add_argument("--shrink", action="store_true", help="make it smaller first, as long as it fails")
    parser.add_argument("--focus", default="", help="what there is to be much of (see `run.case`)")
    parser.add_argument("--failures", type=int, default=5, help="after how many failures to stop")
    parser.add_argument(
        "--fingerprint", action="store_true", help="hash the histories: of the focus, or without one of each"
    )
    options = parser.parse_args()
    seeds = [options.seed] if options.seed is not None else range(options.start, options.start + options.seeds)
    if options.fingerprint:
        for focus in [options.focus] if options.focus else ["", *FOCUSES]:
            compare(seeds, focus, verbose=options.verbose)
        return 0
    failed: list[int] = []
    invocations = requests = 0
    gc.collect()
    gc.freeze()
    gc.disable()  # a simulation's garbage is collected when it is over, at once
    began = time.process_time()
    for count, seed in enumerate(seeds, 1):
        verbose = options.verbose and options.seed is not None
        one = case(seed, options.focus)
        if options.shrink and options.seed is not None:
            one = shrink(one)
        result = run(one, history=verbose)
        gc.collect()
        invocations += result.invocations
        requests += result.requests
        if verbose:
            show(result)
        if result.violations and verbose and options.shrink:
            print(source(one))
        if result.violations:
            failed.append(seed)
            again = REPLAY.format(seed, options.focus and f" --focus {options.focus}")
            print(f"seed {seed}: {result.violations[0][:300]}\n  {again}", flush=True)
            if len(failed) >= options.failures:
                break
        if count % 500 == 0:
            print(f"{count} seeds", file=sys.stderr, flush=True)
    took = time.process_time() - began
    print(
        f"{count} seeds, {invocations} invocations, {requests} requests in {took:.1f} s of one core "
        f"({invocations / took:.0f} invocations/s); failed: {failed or 'none'}"
    )
    return 1 if failed else 0


def compare(seeds: Iterable[int], focus: str, *, verbose: bool) -> None:
    """Print the hash of many simulations' histories, and perhaps those that it is made of."""
    whole = hashlib.sha256()
    name = focus or "no focus"
    for seed in seeds:
        found = fingerprint(run(case(seed, focus), history=True))
        whole.update(found.encode())
        if verbose:
            print(f"{name}, seed {seed}: {found}", flush=True)
    print(f"{name}: {whole.hexdigest()[:32]}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
