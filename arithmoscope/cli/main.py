"""The command line: parser and dispatch. A refusal exits 2 with one line on stderr: what, why, the way out."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from arithmoscope.contracts.errors import Refusal

if TYPE_CHECKING:
    from arithmoscope.settings import Settings


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code. A command's imports happen when it runs."""
    args = command_line().parse_args(argv)
    from arithmoscope.cli.installation import require_extra, require_one_copy
    from arithmoscope.system_errors import errors_as_refusals

    try:
        with errors_as_refusals():
            require_one_copy()
            if args.command in _NEED_SERVER:
                require_extra("server", args.command)
            status = _COMMANDS.get(args.command, _experiment)(args)
            sys.stdout.flush()  # a broken pipe shows up here instead of at exit
            return status
    except Refusal as refusal:
        print(_one_line(str(refusal)), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, _one_line(f"{message[:1].upper() + message[1:]}. See {self.prog} --help.") + "\n")


class _MainParser(_Parser):
    """The parser of the command itself. Its help ends with the settings, which are read only if it is printed."""

    def format_help(self) -> str:
        from arithmoscope.settings import PREFIX, Settings

        names = ", ".join(PREFIX + name.upper() for name in Settings.model_fields)
        self.epilog = (
            "'arithmoscope COMMAND --help' lists the flags of a command. Settings are environment variables, also read "
            f"from a file .env: {names}."
        )
        return super().format_help()


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from arithmoscope import __version__

        print(f"arithmoscope {__version__}")
        parser.exit(0)


def command_line() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = _MainParser(
        prog="arithmoscope",
        description="Find the attention heads and MLPs that a language model uses for arithmetic.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)

    serve = commands.add_parser("serve", help="start everything: web page, API, queue and one worker")
    api = commands.add_parser("api", help="start only the web page and the API; needs ARITHMOSCOPE_REDIS_URL")
    for server in (serve, api):
        server.add_argument("--host", help="address to listen on (127.0.0.1)")
        server.add_argument("--port", help="port to listen on (8000)")
    serve.add_argument("--data-dir", help="folder for the database and the results")
    serve.add_argument("--open", action="store_true", help="open the web page in a browser")
    commands.add_parser("worker", help="start only a worker; needs ARITHMOSCOPE_REDIS_URL")

    from arithmoscope.cli.experiment import DEFAULT_MODEL, add_experiment
    from arithmoscope.cli.fine_tune_args import add_fine_tune
    from arithmoscope.cli.inspect_args import add_inspect
    from arithmoscope.contracts.kinds import KINDS

    for kind in KINDS.values():
        if kind.name == "fine_tune":  # its command also exports models and runs benchmarks
            add_fine_tune(commands, kind)
        else:
            add_experiment(commands, kind)
    add_inspect(commands)

    replicate = commands.add_parser(
        "replicate",
        help="test the paper's claims on a model; writes a page with figures",
        description="Runs the paper's experiments on one model and writes a page with figures and a JSON file.",
    )
    replicate.add_argument("model", nargs="?", default=DEFAULT_MODEL, metavar="MODEL", help=f"model ({DEFAULT_MODEL})")
    replicate.add_argument("--out", default="findings", metavar="FOLDER", help="output folder (findings)")
    replicate.add_argument("--quick", action="store_true", help="smoke test with few prompts; the results mean nothing")

    models = commands.add_parser("models", help="list, check and fetch models")
    actions = models.add_subparsers(dest="action", metavar="ACTION")
    actions.add_parser("list", help="list all models (the default)")
    for name, description in (("check", "check whether a model can run here"), ("fetch", "make a model ready to run")):
        actions.add_parser(name, help=description).add_argument("id", help="id of the model, as listed")
    return parser


def _settings(**values: str | None) -> Settings:
    from arithmoscope.settings import read_settings

    try:
        return read_settings(**values)
    except UnicodeDecodeError as error:
        raise Refusal("bad_setting", "The file .env is not text in UTF-8.", "Save it as UTF-8.") from error


def _serve(args: argparse.Namespace) -> int:
    settings = _settings(host=args.host, port=args.port, data_dir=args.data_dir)
    from arithmoscope.serve.supervisor import serve

    def opened(address: Callable[[], str]) -> None:
        print(f"Arithmoscope runs at {address()} (Ctrl-C stops it)", flush=True)
        if args.open:
            import webbrowser

            webbrowser.open(address())

    serve(settings, lambda line: print(_one_line(line), file=sys.stderr, flush=True), opened)
    return 0


def _api(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from arithmoscope.serve import wiring as parts
    from arithmoscope.serve.logs import log_to_stderr, secrets_in

    settings = _settings(host=args.host, port=args.port)
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


def _worker(args: argparse.Namespace) -> int:
    from arithmoscope.serve import wiring as parts
    from arithmoscope.serve.logs import log_to_stderr, secrets_in

    settings = _settings()
    config = parts.worker_config_json(settings, parts.required_redis(settings), parts.new_worker_name())
    log_to_stderr("worker", secrets_in(config))
    parts.open_store(settings).close()  # a clearer refusal than the worker's, which does not know the settings
    return parts.run_worker(config)


def _experiment(args: argparse.Namespace) -> int:
    from arithmoscope.cli.experiment import run_experiment

    run_experiment(_settings(), args, sys.stdout, sys.stderr)
    return 0


def _inspect(args: argparse.Namespace) -> int:
    from arithmoscope.cli.inspect import inspect

    inspect(_settings(), args, sys.stdout, sys.stderr)
    return 0


def _fine_tune(args: argparse.Namespace) -> int:
    from arithmoscope.cli.fine_tune import run_tuning

    run_tuning(_settings(), args, sys.stdout, sys.stderr)
    return 0


def _replicate(args: argparse.Namespace) -> int:
    from arithmoscope.cli.replicate import replicate

    replicate(_settings(), args.model, args.out, quick=args.quick, out=sys.stdout, progress=sys.stderr)
    return 0


def _models(args: argparse.Namespace) -> int:
    from arithmoscope.cli import models

    settings = _settings()
    match args.action:
        case "check":
            print(models.check(settings, args.id))
        case "fetch":
            print(models.fetch(settings, args.id, lambda line: print(line, file=sys.stderr, flush=True)))
        case _:
            print(models.table(settings))
    return 0


def _one_line(text: str) -> str:
    return " ".join(text.split())


_COMMANDS = {
    "serve": _serve,
    "api": _api,
    "worker": _worker,
    "inspect": _inspect,
    "fine-tune": _fine_tune,
    "replicate": _replicate,
    "models": _models,
}

_NEED_SERVER = ("serve", "api", "worker")
