"""`make soak`: twenty rounds of all faults, then the load; writes docs/soak.md and benchmarks/soak/results.json.

`python -m benchmarks.soak --rounds 2 --only faults` does a part of it and keeps the other part's
earlier results. A run that is cut keeps its results so far.
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
from benchmarks.soak.load import drain, post_at_once, stand_traffic, warm_tree
from benchmarks.soak.questions import long_question
from benchmarks.soak.report import PAGE, RESULTS, ROOT, Findings
from benchmarks.soak.rounds import Round, questions_of, run_round, undisturbed

QUESTIONS = 40
POSTS = 50
QUEUE = 1_000
_DRAINS_WITHIN_S = 1_800.0


def main() -> int:
    """0 when everything is as it must be, 1 when not."""
    told = _told()
    with_mounts()
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"[{time.monotonic() - began:6.0f} s] {line}", flush=True)

    findings = Findings(told.seed)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    models = folder / "models"
    say("a tiny model is made")
    write_model(models)
    if told.only == "load":
        findings.keep_faults(told.results)
    if told.only == "faults":
        findings.keep_load(told.results)
    if told.only != "load":
        _faults(told, folder, models, findings, say)
    if told.only != "faults":
        _load(told, folder, models, findings, say)
    findings.write(told.page, told.results)
    for problem in findings.faults_found():
        say(f"NOT AS IT MUST BE: {problem[:1000]}")
    if findings.is_clean:
        shutil.rmtree(folder, ignore_errors=True)
        say("everything is as it must be")
    say(f"written: {told.page}, {told.results}")
    return 0 if findings.is_clean else 1


def write_model(models: Path) -> None:
    """In a process of its own: this one never loads torch, whose threads and memory would be in the way."""
    subprocess.run(
        [sys.executable, "-m", "benchmarks.soak.model", str(models)], check=True, capture_output=True, cwd=ROOT
    )


def _faults(
    told: argparse.Namespace, folder: Path, models: Path, findings: Findings, say: Callable[[str], None]
) -> None:
    questions = questions_of(told.questions)
    say(f"{len(questions)} questions are answered without any fault")
    expected = undisturbed(folder / "undisturbed", models, questions)

    def play(number: int) -> Round:
        place = folder / f"round-{number}"
        return run_round(
            number, told.seed, place, models, questions, lambda: expected, lambda line: say(f"{number}: {line}")
        )

    # A round waits most of the time: for leases that end, and for workers that import torch.
    with ThreadPoolExecutor(told.together) as pool:
        for done in as_completed([pool.submit(play, number) for number in range(1, told.rounds + 1)]):
            found = done.result()
            findings.rounds.append(found)
            findings.write(told.page, told.results)
            clean = "clean" if found.is_clean else "NOT CLEAN"
            say(f"round {found.number} of {told.rounds}: {clean}, {found.verdict.accepted} experiments")


def _load(told: argparse.Namespace, folder: Path, models: Path, findings: Findings, say: Callable[[str], None]) -> None:
    say("the load begins")
    with warm_tree(folder / "load", models) as serve:
        findings.posts = post_at_once(serve, long_question(0), POSTS)
        say(f"{POSTS} identical questions: {findings.posts}")
        findings.drain = drain(serve, told.queue, _DRAINS_WITHIN_S)
        say(f"the queue: {findings.drain}")
        findings.write(told.page, told.results)
        findings.traffic = stand_traffic(serve, told.minutes * 60)
        say(f"requests and readers: {findings.traffic.latencies_ms.get('all')}, {findings.traffic.n_errors} errors")


def _told() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description="Faults and load on real process trees."
    )
    parser.add_argument("--rounds", type=int, default=20, help="of all faults (20)")
    parser.add_argument("--together", type=int, default=2, help="rounds at the same time (2)")
    parser.add_argument("--seed", type=int, default=1, help="of the random moments and orders (1)")
    parser.add_argument("--minutes", type=float, default=10.0, help="of readers and requests (10)")
    parser.add_argument("--only", choices=("faults", "load"), help="leave out the other part")
    parser.add_argument("--questions", type=int, default=QUESTIONS, help=f"distinct ones for a round ({QUESTIONS})")
    parser.add_argument("--queue", type=int, default=QUEUE, help=f"experiments to drain ({QUEUE})")
    parser.add_argument("--page", type=Path, default=PAGE, help="where the page is written (docs/soak.md)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the numbers are written")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
