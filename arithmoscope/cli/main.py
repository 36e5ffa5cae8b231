"""The command line. Every refusal exits 2 with one line on stderr: what, why, the way out."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from arithmoscope.contracts.errors import Refusal

if TYPE_CHECKING:
    from arithmoscope.settings import Settings

_EFFECTS = ("direct", "through_mlps", "total")
_POSITIONS = ("end", "all")
_SOURCES = ("counterfactual", "zero")  # the others need several prompts
_DIRECTIONS = ("noising", "denoising")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit code. Each command imports what it needs, and nothing before it is chosen."""
    told = command_line().parse_args(argv)
    from arithmoscope.cli.installation import require_extra, require_one_copy
    from arithmoscope.system_errors import errors_as_refusals

    try:
        with errors_as_refusals():
            require_one_copy()
            if told.command in _NEED_SERVER:
                require_extra("server", told.command)
            status = _COMMANDS[told.command](told)
            sys.stdout.flush()  # a pipe that nobody reads any more is noticed here and not in the exit
            return status
    except Refusal as refusal:
        print(_one_line(str(refusal)), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output has seen enough; nothing is left to flush to
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, _one_line(f"{message[:1].upper() + message[1:]}. See {self.prog} --help.") + "\n")


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from importlib.metadata import version

        print(f"arithmoscope {version('arithmoscope')}")
        parser.exit(0)


def command_line() -> argparse.ArgumentParser:
    """What the command understands."""
    parser = _Parser(
        prog="arithmoscope",
        description="See which attention heads and MLPs a language model uses to do arithmetic.",
        epilog="Settings are environment variables ARITHMOSCOPE_*, also in a file .env; .env.example lists them.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    serve = commands.add_parser("serve", help="the page, the API, the queue and one worker, all in one")
    api = commands.add_parser("api", help="the page and the API alone; needs ARITHMOSCOPE_REDIS_URL")
    for each in (serve, api):
        each.add_argument("--host", help="address to listen on (127.0.0.1)")
        each.add_argument("--port", help="port to listen on (8000)")
    serve.add_argument("--data-dir", help="folder of the database and the results")
    serve.add_argument("--open", action="store_true", help="open the page in the browser")
    commands.add_parser("worker", help="a worker alone; needs ARITHMOSCOPE_REDIS_URL")

    analyze = commands.add_parser("analyze", help='one analysis without a server: analyze "3 + 5 ="')
    analyze.add_argument("prompt", help='a calculation such as "3 + 5 ="')
    analyze.add_argument("--model", default="smollm2-135m", metavar="ID", help="model (smollm2-135m)")
    analyze.add_argument("--effect", choices=_EFFECTS, default="through_mlps", help="kind of effect (through_mlps)")
    analyze.add_argument("--positions", choices=_POSITIONS, default="end", help="where to patch (end); all needs total")
    analyze.add_argument(
        "--source",
        choices=_SOURCES,
        default="counterfactual",
        help="what to patch from (counterfactual); mean and resample need a set of prompts, asked for on the page, "
        "over the API or from Python",
    )
    analyze.add_argument(
        "--direction", choices=_DIRECTIONS, default="noising", help="take parts away (noising), or put them back"
    )
    analyze.add_argument("--shots", type=int, metavar="N", help="solved examples before the prompt (the model's)")
    analyze.add_argument("--chat", action="store_true", help="ask through the model's chat template")
    analyze.add_argument(
        "--csv", metavar="FILE", help="write the ranking to FILE, its description to FILE-metadata.json"
    )
    analyze.add_argument("--json", action="store_true", help="print the whole result as JSON")

    from arithmoscope.cli.fine_tune_args import add_fine_tune
    from arithmoscope.cli.inspect_args import add_look
    from arithmoscope.cli.knockout_args import add_commands

    add_commands(commands)
    add_look(commands)
    add_fine_tune(commands)

    findings = commands.add_parser("replicate", help="the paper's claims on a model, as a page with figures")
    findings.add_argument("model", nargs="?", default="smollm2-135m", metavar="MODEL", help="model (smollm2-135m)")
    findings.add_argument("--out", default="docs/findings", metavar="FOLDER", help="folder to write to (docs/findings)")
    findings.add_argument("--quick", action="store_true", help="few prompts: does all of it run? It finds nothing")

    models = commands.add_parser("models", help="which models can run here, and why others cannot")
    actions = models.add_subparsers(dest="action", metavar="ACTION")
    actions.add_parser("list", help="all models (also without an action)")
    for name, said in (("check", "whether a model can run here"), ("fetch", "get a model ready to run")):
        actions.add_parser(name, help=said).add_argument("id", help="the model's id, as in the list")
    return parser


def _settings(**told: str | None) -> Settings:
    from arithmoscope.settings import read_settings

    try:
        return read_settings(**told)
    except UnicodeDecodeError as error:
        raise Refusal("bad_setting", "The file .env is not text in UTF-8.", "Save it as UTF-8.") from error


def _serve(told: argparse.Namespace) -> int:
    settings = _settings(host=told.host, port=told.port, data_dir=told.data_dir)
    from arithmoscope.serve.supervisor import serve

    def opened(address: Callable[[], str]) -> None:
        print(f"Arithmoscope runs at {address()} (Ctrl-C stops it)", flush=True)
        if told.open:
            import webbrowser

            webbrowser.open(address())

    serve(settings, lambda line: print(_one_line(line), file=sys.stderr, flush=True), opened)
    return 0


def _api(told: argparse.Namespace) -> int:
    from dataclasses import asdict

    from arithmoscope.serve import wiring as parts
    from arithmoscope.serve.logs import log_to_stderr, secrets_in

    settings = _settings(host=told.host, port=told.port)
    config = parts.api_config(settings, parts.required_redis(settings))
    log_to_stderr("api", secrets_in(asdict(config)))
    from arithmoscope.serve.sockets import address_of, listening_on

    with listening_on(settings.host, settings.port) as listening:
        with parts.open_store(settings) as store:
            parts.import_example(store)  # models are the workers' to register: they have the files
        from arithmoscope_api.serve import run

        address = f"{address_of(settings.host, listening)}{settings.root_path}/{parts.login_query(settings)}"
        print(f"Arithmoscope listens at {address}", flush=True)
        run(config, listening)
    return 0


def _worker(told: argparse.Namespace) -> int:
    from arithmoscope.serve import wiring as parts
    from arithmoscope.serve.logs import log_to_stderr, secrets_in

    settings = _settings()
    told_worker = parts.worker_config_json(settings, parts.required_redis(settings), parts.new_worker_name())
    log_to_stderr("worker", secrets_in(told_worker))
    parts.open_store(settings).close()  # refuses in better words than the worker can: it knows no settings
    return parts.run_worker(told_worker)


def _analyze(told: argparse.Namespace) -> int:
    from arithmoscope.cli.analyze import Options, analyze

    analyze(
        _settings(),
        told.prompt,
        model_id=told.model,
        options=Options(told.effect, told.positions, told.source, told.direction),
        shots=told.shots,
        chat=told.chat,
        csv=told.csv,
        as_json=told.json,
        out=sys.stdout,
        progress=sys.stderr,
    )
    return 0


def _knockout(told: argparse.Namespace) -> int:
    from arithmoscope.cli.knockout import run_knockout

    run_knockout(_settings(), told, sys.stdout, sys.stderr)
    return 0


def _transfer(told: argparse.Namespace) -> int:
    from arithmoscope.cli.knockout import run_transfer

    run_transfer(_settings(), told, sys.stdout, sys.stderr)
    return 0


def _inspect(told: argparse.Namespace) -> int:
    from arithmoscope.cli.inspect import inspect

    inspect(_settings(), told, sys.stdout, sys.stderr)
    return 0


def _fine_tune(told: argparse.Namespace) -> int:
    from arithmoscope.cli.fine_tune import run_tuning

    run_tuning(_settings(), told, sys.stdout, sys.stderr)
    return 0


def _replicate(told: argparse.Namespace) -> int:
    from arithmoscope.cli.replicate import replicate

    replicate(_settings(), told.model, told.out, quick=told.quick, out=sys.stdout, progress=sys.stderr)
    return 0


def _models(told: argparse.Namespace) -> int:
    from arithmoscope.cli import models

    settings = _settings()
    match told.action:
        case "check":
            print(models.check(settings, told.id))
        case "fetch":
            print(models.fetch(settings, told.id, lambda line: print(line, file=sys.stderr, flush=True)))
        case _:
            print(models.table(settings))
    return 0


def _one_line(text: str) -> str:
    return " ".join(text.split())


_COMMANDS = {
    "serve": _serve,
    "api": _api,
    "worker": _worker,
    "analyze": _analyze,
    "knockout": _knockout,
    "transfer": _transfer,
    "inspect": _inspect,
    "fine-tune": _fine_tune,
    "replicate": _replicate,
    "models": _models,
}

_NEED_SERVER = ("serve", "api", "worker")
