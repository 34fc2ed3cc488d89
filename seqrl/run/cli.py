"""The `seqrl` command; heavy modules are imported by the subcommand that needs them."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqrl.failures import EnvironmentFailed, OutOfMemory, ProcessLost, RewardFailed
from seqrl.run import registry
from seqrl.run.interrupt import current_command, exit_code, resume_command, run_command
from seqrl.run.launching import OPTION, check_number, launch, without_option

if TYPE_CHECKING:
    from seqrl.run.config import RunConfig
    from seqrl.run.loop import RunResult

EXIT_BAD_INPUT, EXIT_FAILED = 2, 1
READS_RUNS = ("train", "resume", "evaluate", "sample", "export", "record", "chat", "show")
MOST_CHARACTERS = 4000  # of an error's text; what it quotes may come from anybody
Command = Callable[[argparse.Namespace, list[str]], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; give its exit code: 0 well, 2 bad input, 130 after SIGINT, 143 after SIGTERM, 1 anything else."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    return run_command(lambda: _main(arguments), name="seqrl")


def _main(arguments: Sequence[str]) -> int:
    try:
        parser = make_parser(arguments)
        parsed, rest = parser.parse_known_args(arguments)
        number = check_number(getattr(parsed, "num_processes", None), os.environ)
        return int(parsed.run(parsed, rest) or 0) if number == 1 else launch(without_option(arguments), number)
    except Exception as error:
        command = current_command()
        # torchrun sends a signal to those that are left when one process has ended, which says less than the error.
        if command is not None and not isinstance(error, ProcessLost):
            command.check()  # what broke because of a signal is no fault
        return _say_failed(error)


def _say_failed(error: Exception) -> int:
    if isinstance(error, BrokenPipeError):
        # The reader of a pipe, such as head, has seen enough.
        sys.stdout = None  # type: ignore[assignment]
        return 0
    if isinstance(error, ValueError | OSError):
        notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", []))
        text = str(error)
        if len(text) > MOST_CHARACTERS:
            text = f"{text[: MOST_CHARACTERS // 2]} ... ({len(text)} characters) ... {text[-MOST_CHARACTERS // 2 :]}"
        print(f"seqrl: {text}{notes}", file=sys.stderr)
        return EXIT_BAD_INPUT
    if isinstance(error, EnvironmentFailed | OutOfMemory | ProcessLost | RewardFailed):
        # Not a fault of this package, so its traceback tells nothing.
        print(f"seqrl: {'; '.join([str(error), *getattr(error, '__notes__', [])])}", file=sys.stderr)
        return EXIT_FAILED
    traceback.print_exception(error)
    return EXIT_FAILED


def make_parser(arguments: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Build the parser; commands of other packages are imported only when they are called.

    Args:
        arguments: the command line, which says which one is.
    """
    parser = argparse.ArgumentParser(
        prog="seqrl", description="Trains policies over sequences with reinforcement learning.", allow_abbrev=False
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, help: str, run: Command) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help, description=help, allow_abbrev=False)
        command.set_defaults(run=run)
        if name in READS_RUNS:
            command.add_argument(
                "--allow-code", action="store_true", help="import what a run's configuration names, though it is not installed"
            )
        return command

    def add_for_run(name: str, help: str, run: Command) -> argparse.ArgumentParser:
        command = add(name, help, run)
        command.add_argument(
            "folder", type=Path, metavar="run", help="run folder (its best checkpoint, or else the newest) or checkpoint folder"
        )
        command.add_argument("--checkpoint", help="which one: number of its step, best, or path")
        return command

    command = add("train", "Do a run: seqrl train CONFIG [--field=value ...]", _train)
    command.add_argument(
        "config", type=Path, help="YAML file, or a name that `seqrl list` shows; --field.field=value sets any of its fields"
    )
    command.add_argument("--seeds", help="train once for each, 0,1,2 say, as NAME_seed0 ...")
    command.add_argument(
        OPTION, type=int, help="processes on this machine that train one policy together, see docs/scaling.md; 1 by default"
    )
    command.add_argument("--overwrite", action="store_true", help="delete an earlier run of this name")
    command.add_argument("--quiet", action="store_true", help="show no progress")
    command = add("resume", "Go on with a run: seqrl resume RUN [--num_updates=MORE]", _resume)
    command.add_argument("folder", type=Path, metavar="run", help="its folder, for instance runs/demo")
    command.add_argument("--checkpoint", help="go on from this one, not from the newest: number of its step, or path")
    command.add_argument(OPTION, type=int, help="processes that go on with it, more or fewer than before, too; 1 by default")
    command.add_argument("--quiet", action="store_true", help="show no progress")
    command = add_for_run("evaluate", "Score a trained policy", _evaluate)
    command.add_argument("--split", default="dev", help="dev or test; dev by default")
    command.add_argument("--output", type=Path, help="file for the metrics; RUN/evaluation_SPLIT.json by default")
    command = add_for_run("sample", "Write samples of a trained policy to look at", _sample)
    command.add_argument("--count", type=int, default=8, help="how many; 8 by default")
    command.add_argument("--output", type=Path, help="where they go; RUN/samples by default")
    command = add_for_run("export", "Write a trained model of transformers as a folder that `from_pretrained` loads", _export)
    command.add_argument("output", type=Path, metavar="folder", help="where it goes; made, and empty where it is there")
    command.add_argument("--license", default="unknown", help="identifier such as apache-2.0, for the model card")
    command.add_argument("--push", metavar="NAME", help="also upload it to the hub as NAME")
    command = add_for_run("record", "Write an animation of episodes that a trained policy plays", _record)
    command.add_argument("--episodes", type=int, default=1, help="how many, one after the other; 1 by default")
    command.add_argument("--seed", type=int, default=0, help="of the first episode's start; 0 by default")
    command.add_argument("--output", type=Path, help="a .gif or .mp4; RUN/figures/episode.gif by default")
    command = add_for_run("chat", "Talk to a trained policy: keywords or sentences in, what it says out, until the end of the file", _chat)
    command.add_argument("--voice", type=Path, metavar="RUN", help="run of a text task that puts acts into words; templates by default")
    command.add_argument("--show", action="store_true", help="after each turn show what was heard and believed, the act, and what was paid")
    command.add_argument("--mishear", action="store_true", help="hear as badly as in training; else as typed")
    command.add_argument("--seed", type=int, default=0, help="of what is misheard; 0 by default")
    command = add("show", "Print a configuration with every default and its meaning", _show)
    command.add_argument("config", type=Path, help="YAML file, name of a configuration, or run folder")
    command = add("migrate", "Rewrite a run of an earlier version, whose settings and weights have other names now", _migrate)
    command.add_argument("folders", type=Path, nargs="+", metavar="run", help="run folder, for instance runs/demo, or checkpoint folder")
    command.epilog = (
        "Writes config.yaml and every checkpoint anew beside the old ones, then renames them; config.yaml.before keeps the configuration "
        "as it was. Prints what was changed; a run that is up to date stays as it is. `seqrl resume` then goes on with it to the bit."
    )
    command = add("list", "List tasks, trainers, configs and runs", _list)
    command.add_argument("--configs", type=Path, help="folder of YAML files; by default ./configs and those that ship with seqrl")
    command.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs")
    command = add("compare", "Compare runs over seeds: interquartile mean, bootstrap 95%% intervals, a table and a plot", _compare)
    command.add_argument(
        "folders", type=Path, nargs="+", metavar="run", help="run folders; names that differ in _seedN alone are one group"
    )
    command.add_argument("--metric", help="logged key; by default the watched dev metric, or else the first one")
    command.add_argument("--at", choices=("last", "best"), default="last", help="which value of each run counts; the last one by default")
    command.add_argument(
        "--x", choices=("env_steps", "updates", "seconds"), help="draw against the environments' steps, updates, or seconds of training"
    )
    command.add_argument("--solved", type=float, help="value from which on the task counts as solved; adds a table of when it was")
    command.add_argument("--output", type=Path, help="folder for compare.png and compare.json; runs/compare by default")
    _add_registered(commands, arguments)
    return parser


def _add_registered(commands: argparse._SubParsersAction[argparse.ArgumentParser], arguments: Sequence[str]) -> None:
    called = next((argument for argument in arguments if not argument.startswith("-")), None)
    for name in registry.registered(registry.COMMANDS):
        if name in commands.choices:
            continue
        if name == called:
            module = registry.find(registry.COMMANDS, name)
            command = commands.add_parser(name, help=module.__doc__, description=module.__doc__, allow_abbrev=False)
            module.add_arguments(command)
            command.set_defaults(run=_without_overrides(module.run))
        else:
            commands.add_parser(name, help=f"seqrl {name} --help says more")


def _without_overrides(run: Callable[[argparse.Namespace], int | None]) -> Command:
    def checked(parsed: argparse.Namespace, rest: list[str]) -> int:
        _refuse_rest(rest)
        return run(parsed) or 0

    return checked


def _refuse_rest(rest: list[str]) -> None:
    if rest:
        raise ValueError(f"unknown argument {rest[0]!r}; `seqrl COMMAND --help` lists the known ones")


def _train(parsed: argparse.Namespace, rest: list[str]) -> int:
    _hint("nothing was written; the same command starts it anew")
    from seqrl.run.config import read_config
    from seqrl.run.configs import find_config
    from seqrl.run.trust import refuse_other_place, run_around

    def read(*changes: str) -> RunConfig:
        return read_config(path, [*rest, *changes], allow_code=parsed.allow_code or run_around(path) is None)

    path = find_config(parsed.config)
    config = read()
    refuse_other_place(config.runs_folder, path, rest)
    if parsed.seeds is None:
        from seqrl.run.train import train

        _hint(f"nothing was kept of {config.run_folder}; the same command starts it anew")
        return _report(train(config, overwrite=parsed.overwrite, display=not parsed.quiet))
    from seqrl.run.seeds import read_seeds, train_seeds

    configs = [read(f"--seed={seed}", f"--name={config.name}_seed{seed}") for seed in read_seeds(parsed.seeds)]
    return train_seeds(configs, overwrite=parsed.overwrite, display=not parsed.quiet, hint=_hint, report=_report, say_failed=_say_failed)


def _resume(parsed: argparse.Namespace, rest: list[str]) -> int:
    _hint(f"{parsed.folder} is as it was; `{resume_command(parsed.folder)}` goes on")
    from seqrl.run.train import resume

    return _report(resume(parsed.folder, rest, resume_from=parsed.checkpoint, display=not parsed.quiet, allow_code=parsed.allow_code))


def _hint(text: str) -> None:
    """Set what is said when a signal ends the command from here on."""
    command = current_command()
    if command is not None:
        command.hint = text
        command.check()


def _report(result: RunResult, left: str = "") -> int:
    """Say how a run ended, and draw its curves; give the exit code.

    Args:
        result: of the run.
        left: what remains to be done after it, for somebody who ends the command.
    """
    from seqrl.distributed import is_main

    if result.interrupted:
        if is_main():
            going_on = f"`{resume_command(result.run_folder)}` goes on{', ' if left else ''}{left}"
            print(f"seqrl: interrupted after update {result.step}; {going_on}", file=sys.stderr)
        return exit_code(result.interrupted)
    _hint(f"{result.run_folder} is finished{', ' if left else ''}{left}")
    if not is_main():
        return 0
    metrics = "  ".join(f"{name} {value:.4g}" for name, value in result.evaluation.items())
    ended = f"stopped early after update {result.step}, best at {result.best_step}" if result.stopped_early else f"{result.step} updates"
    print(f"{result.run_folder}: {ended}  {metrics}".rstrip())
    if result.run_folder is not None and result.step > 1:  # a single point is no curve
        from seqrl.run.plots import run_curves

        try:
            print(run_curves(result.run_folder))
        except OSError as error:  # the run is whole all the same
            print(f"seqrl: the curves could not be drawn: {error}", file=sys.stderr)
    return 0


def _evaluate(parsed: argparse.Namespace, rest: list[str]) -> int:
    from seqrl.run.inspect_run import evaluate

    folder, metrics, signatures = evaluate(parsed.folder, rest, **_given(parsed, "split", "output"))
    print(f"{folder} on {parsed.split}")
    print("\n".join([_table(metrics), *signatures.values()]))
    return 0


def _given(parsed: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Give settings of a command that looks at a run, and those that all of them have."""
    return {"which": parsed.checkpoint, "allow_code": parsed.allow_code, **{name: getattr(parsed, name) for name in names}}


def _table(metrics: Mapping[str, float]) -> str:
    """Lay metrics out with those of another decoding, such as beam/bleu4, in a column beside those without."""
    cells = {(name.rpartition("/")[0], name.rpartition("/")[2]): value for name, value in metrics.items()}
    columns, names = list(dict.fromkeys(column for column, _ in cells)), list(dict.fromkeys(name for _, name in cells))
    width = max((len(name) for name in names), default=0)
    lines = [f"  {'':<{width}}" + "".join(f"  {column or 'greedy':>10}" for column in columns)] if len(columns) > 1 else []
    for name in names:
        values = (f"{cells[column, name]:10.4f}" if (column, name) in cells else " " * 10 for column in columns)
        lines.append(f"  {name:<{width}}" + "".join(f"  {value}" for value in values).rstrip())
    return "\n".join(lines)


def _sample(parsed: argparse.Namespace, rest: list[str]) -> int:
    from seqrl.run.inspect_run import sample

    for path in sample(parsed.folder, rest, **_given(parsed, "count", "output")):
        if path.suffix == ".txt":
            print(path.read_text(encoding="utf-8"))
        print(path)
    return 0


def _export(parsed: argparse.Namespace, rest: list[str]) -> int:
    from seqrl.run.export import export

    folder = export(parsed.folder, parsed.output, rest, **_given(parsed, "license", "push"))
    print(f"{parsed.output}: {folder}, with its model card README.md" + (f"; also on the hub as {parsed.push}" if parsed.push else ""))
    return 0


def _record(parsed: argparse.Namespace, rest: list[str]) -> int:
    from seqrl.run.inspect_run import record

    path, lines = record(parsed.folder, rest, **_given(parsed, "episodes", "seed", "output"))
    print("\n".join([*lines, str(path)]))
    return 0


def _chat(parsed: argparse.Namespace, rest: list[str]) -> int:
    from seqrl.run.chat import chat

    chat(parsed.folder, rest, **_given(parsed, "seed", "mishear", "voice", "show"))
    return 0


def _show(parsed: argparse.Namespace, rest: list[str]) -> int:
    from seqrl.run.config import explain, read_config
    from seqrl.run.configs import find_config
    from seqrl.run.trust import run_around

    path = parsed.config / "config.yaml" if (parsed.config / "config.yaml").is_file() else parsed.config
    path = find_config(path)
    print("\n".join(explain(read_config(path, rest, allow_code=parsed.allow_code or run_around(path) is None))))
    return 0


def _migrate(parsed: argparse.Namespace, rest: list[str]) -> int:
    from seqrl.run.migrate import migrate

    _refuse_rest(rest)
    for folder in parsed.folders:
        changes = migrate(folder)
        print("\n  ".join([f"{folder}: rewritten", *changes]) if changes else f"{folder}: is up to date")
    return 0


def _list(parsed: argparse.Namespace, rest: list[str]) -> int:
    from seqrl.run.listing import listing

    _refuse_rest(rest)
    print(listing(parsed.configs, parsed.runs))
    return 0


def _compare(parsed: argparse.Namespace, rest: list[str]) -> int:
    from seqrl.run.compare import compare

    _refuse_rest(rest)
    print(compare(parsed.folders, metric=parsed.metric, at=parsed.at, x=parsed.x, solved=parsed.solved, output=parsed.output))
    return 0


if __name__ == "__main__":
    sys.exit(main())
