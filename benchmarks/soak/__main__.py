"""`make soak`: twenty rounds of all faults, then the load; writes docs/soak.md and benchmarks/soak/results.json.

`python -m benchmarks.soak --rounds 2 --only faults` runs a part of it and keeps the other part's earlier results. An
interrupted run keeps its results so far.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from benchmarks.soak.disk import with_mounts
from benchmarks.soak.load import drain, post_at_once, run_traffic, warm_tree
from benchmarks.soak.questions import long_question
from benchmarks.soak.report import PAGE, RESULTS, ROOT, SoakReport
from benchmarks.soak.rounds import Round, questions_of, run_round, undisturbed

QUESTIONS = 40
POSTS = 50
QUEUE = 1_000
_DRAINS_WITHIN_S = 1_800.0


def main() -> int:
    """Returns 0 if everything is as it should be, otherwise 1."""
    options = _parse()
    with_mounts()
    start = time.monotonic()

    def log(line: str) -> None:
        print(f"[{time.monotonic() - start:6.0f} s] {line}", flush=True)

    report = SoakReport(options.seed)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    models = folder / "models"
    log("writing a tiny model")
    write_model(models)
    if options.only == "load":
        report.keep_faults(options.results)
    if options.only == "faults":
        report.keep_load(options.results)
    if options.only != "load":
        _faults(options, folder, models, report, log)
    if options.only != "faults":
        _load(options, folder, models, report, log)
    report.write(options.page, options.results)
    for problem in report.problems_found():
        log(f"PROBLEM: {problem[:1000]}")
    if report.is_clean:
        shutil.rmtree(folder, ignore_errors=True)
        log("no problems found")
    log(f"written: {options.page}, {options.results}")
    return 0 if report.is_clean else 1


def write_model(models: Path) -> None:
    """Runs in its own process: this one never loads torch, whose threads and memory would interfere."""
    subprocess.run(
        [sys.executable, "-m", "benchmarks.soak.model", str(models)], check=True, capture_output=True, cwd=ROOT
    )


def _faults(
    options: argparse.Namespace, folder: Path, models: Path, report: SoakReport, log: Callable[[str], None]
) -> None:
    questions = questions_of(options.questions)
    log(f"{len(questions)} questions run without any fault")
    expected = undisturbed(folder / "undisturbed", models, questions)

    def run(number: int) -> Round:
        place = folder / f"round-{number}"
        return run_round(
            number, options.seed, place, models, questions, lambda: expected, lambda line: log(f"{number}: {line}")
        )

    # A round mostly waits: for leases to expire, and for workers to import torch.
    with ThreadPoolExecutor(options.together) as pool:
        for done in as_completed([pool.submit(run, number) for number in range(1, options.rounds + 1)]):
            result = done.result()
            report.rounds.append(result)
            report.write(options.page, options.results)
            clean = "clean" if result.is_clean else "NOT CLEAN"
            log(f"round {result.number} of {options.rounds}: {clean}, {result.verdict.accepted} experiments")


def _load(
    options: argparse.Namespace, folder: Path, models: Path, report: SoakReport, log: Callable[[str], None]
) -> None:
    log("the load starts")
    with warm_tree(folder / "load", models) as serve:
        report.posts = post_at_once(serve, long_question(0), POSTS)
        log(f"{POSTS} identical questions: {report.posts}")
        report.drain = drain(serve, options.queue, _DRAINS_WITHIN_S)
        log(f"the queue: {report.drain}")
        report.write(options.page, options.results)
        report.traffic = run_traffic(serve, options.minutes * 60)
        log(f"requests and readers: {report.traffic.latencies_ms.get('all')}, {report.traffic.n_errors} errors")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description="Faults and load on real process trees."
    )
    parser.add_argument("--rounds", type=int, default=20, help="rounds of all faults (20)")
    parser.add_argument("--together", type=int, default=2, help="rounds run in parallel (2)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the random moments and orders (1)")
    parser.add_argument("--minutes", type=float, default=10.0, help="minutes of readers and requests (10)")
    parser.add_argument("--only", choices=("faults", "load"), help="run only this part")
    parser.add_argument("--questions", type=int, default=QUESTIONS, help=f"distinct questions per round ({QUESTIONS})")
    parser.add_argument("--queue", type=int, default=QUEUE, help=f"experiments to drain ({QUEUE})")
    parser.add_argument("--page", type=Path, default=PAGE, help="path of the page (docs/soak.md)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="path of the JSON results")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
