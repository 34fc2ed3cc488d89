"""The `seqrl` command; heavy modules are imported by the subcommand that needs them."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seqrl.failures import ProcessLost
from seqrl.run import registry
from seqrl.run.interrupt import current_command, resume_command, run_command
from seqrl.run.launching import OPTION, check_number, launch, without_option
from seqrl.run.reports import hint, report, say_failed

if TYPE_CHECKING:
    from seqrl.run.config import RunConfig
    from seqrl.run.train import Source

# Their runs come from a configuration, whose fields --field=value changes, and which may name code.
READS_RUNS = ("train", "resume", "evaluate", "sample", "export", "record", "chat", "play", "show")
Command = Callable[[argparse.Namespace], int | None]
Option = Callable[..., argparse.Action]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; give its exit code: 0 well, 2 bad input, 130 after SIGINT, 143 after SIGTERM, 1 anything else."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    return run_command(lambda: _main(arguments), name="seqrl")


def _main(arguments: Sequence[str]) -> int:
    try:
        parsed, changes = make_parser(arguments).parse_known_args(arguments)
        if changes and not parsed.takes_changes:
            raise ValueError(f"unknown argument {changes[0]!r}; `seqrl COMMAND --help` lists the known ones")
        parsed.changes = changes
        number = check_number(getattr(parsed, "num_processes", None), os.environ)
        return int(parsed.run(parsed) or 0) if number == 1 else launch(without_option(arguments), number)
    except Exception as error:
        command = current_command()
        # torchrun sends a signal to those that are left when one process has ended, which says less than the error.
        if command is not None and not isinstance(error, ProcessLost):
            command.check()  # what broke because of a signal is no fault
        return say_failed(error)


def make_parser(arguments: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Build the parser; commands of other packages are imported only when they are called.

    Args:
        arguments: the command line, which says which one is.
    """
    parser = argparse.ArgumentParser(
        prog="seqrl", description="Trains policies over sequences with reinforcement learning.", allow_abbrev=False
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, help: str, run: Command, *, epilog: str | None = None) -> Option:
        command = commands.add_parser(name, help=help, description=help, epilog=epilog, allow_abbrev=False)
        command.set_defaults(run=run, takes_changes=name in READS_RUNS)
        if name in READS_RUNS:
            command.add_argument(
                "--allow-code", action="store_true", help="import what a run's configuration names, though it is not installed"
            )
        return command.add_argument

    def add_for_run(name: str, help: str, run: Command) -> Option:
        option = add(name, help, run)
        option("folder", type=Path, metavar="run", help="run folder (its best checkpoint, or else the newest) or checkpoint folder")
        option("--checkpoint", help="which one: number of its step, best, or path")
        return option

    option = add("train", "Do a run: seqrl train CONFIG [--field=value ...]", _train)
    option("config", type=Path, help="YAML file, or a name that `seqrl list` shows; --field.field=value sets any of its fields")
    option("--seeds", help="train once for each, 0,1,2 say, as NAME_seed0 ...")
    option(OPTION, type=int, help="processes on this machine that train one policy together, see docs/scaling.md; 1 by default")
    option("--overwrite", action="store_true", help="delete an earlier run of this name")
    option("--quiet", action="store_true", help="show no progress")
    option = add("resume", "Go on with a run: seqrl resume RUN [--num_updates=MORE]", _resume)
    option("folder", type=Path, metavar="run", help="its folder, for instance runs/demo")
    option("--checkpoint", help="go on from this one, not from the newest: number of its step, or path")
    option(OPTION, type=int, help="processes that go on with it, more or fewer than before, too; 1 by default")
    option("--quiet", action="store_true", help="show no progress")
    option = add_for_run("evaluate", "Score a trained policy", _evaluate)
    option("--split", default="dev", help="dev or test; dev by default")
    option("--output", type=Path, help="file for the metrics; RUN/evaluation_SPLIT.json by default")
    option = add_for_run("sample", "Write samples of a trained policy to look at", _sample)
    option("--count", type=int, default=8, help="how many; 8 by default")
    option("--output", type=Path, help="where they go; RUN/samples by default")
    option = add_for_run("export", "Write a trained model of transformers as a folder that `from_pretrained` loads", _export)
    option("output", type=Path, metavar="folder", help="where it goes; made, and empty where it is there")
    option("--license", default="unknown", help="identifier such as apache-2.0, for the model card")
    option("--push", metavar="NAME", help="also upload it to the hub as NAME")
    option = add_for_run("record", "Write an animation of episodes that a trained policy plays", _record)
    option("--episodes", type=int, default=1, help="how many, one after the other; 1 by default")
    option("--seed", type=int, default=0, help="of the first episode's start; 0 by default")
    option("--output", type=Path, help="a .gif or .mp4; RUN/figures/episode.gif by default")
    option("--data", type=Path, metavar="FOLDER", help="write what is seen, done and earned there in place of an animation, to be imitated")
    option = add_for_run("chat", "Talk to a trained policy: keywords or sentences in, what it says out, until the end of the file", _chat)
    option("--voice", type=Path, metavar="RUN", help="run of a text task that puts acts into words; templates by default")
    option("--show", action="store_true", help="after each turn show what was heard and believed, the act, and what was paid")
    option("--mishear", action="store_true", help="hear as badly as in training; else as typed")
    option("--seed", type=int, default=0, help="of what is misheard; 0 by default")
    option = add_for_run("play", "Play a board game against a trained policy: a move a line, until the game or the file ends", _play)
    option("--first", action="store_true", help="you move first, as you do by default")
    option("--second", action="store_true", help="the policy moves first")
    option("--simulations", type=int, help="positions it looks at for each move; as in training by default; 0 for its network alone")
    option = add("show", "Print a configuration with every default and its meaning", _show)
    option("config", type=Path, help="YAML file, name of a configuration, or run folder")
    epilog = (
        "Writes config.yaml and every checkpoint anew beside the old ones, then renames them; config.yaml.before keeps the configuration "
        "as it was. Prints what was changed; a run that is up to date stays as it is. `seqrl resume` then goes on with it to the bit."
    )
    help = "Rewrite a run of an earlier version, whose settings and weights have other names now"
    option = add("migrate", help, _migrate, epilog=epilog)
    option("folders", type=Path, nargs="+", metavar="run", help="run folder, for instance runs/demo, or checkpoint folder")
    option = add("list", "List tasks, trainers, configs and runs", _list)
    option("--configs", type=Path, help="folder of YAML files; by default ./configs and those that ship with seqrl")
    option("--runs", type=Path, default=Path("runs"), help="folder of runs")
    option = add("compare", "Compare runs over seeds: interquartile mean, bootstrap 95%% intervals, a table and a plot", _compare)
    option("folders", type=Path, nargs="+", metavar="run", help="run folders; names that differ in _seedN alone are one group")
    option("--metric", help="logged key; by default the watched dev metric, or else the first one")
    option("--at", choices=("last", "best"), default="last", help="which value of each run counts; the last one by default")
    option("--x", choices=("env_steps", "updates", "seconds"), help="draw against the environments' steps, updates, or seconds of training")
    option("--solved", type=float, help="value from which on the task counts as solved; adds a table of when it was")
    option("--output", type=Path, help="folder for compare.png and compare.json; runs/compare by default")
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
            command.set_defaults(run=module.run, takes_changes=False)
        else:
            commands.add_parser(name, help=f"seqrl {name} --help says more")


def _train(parsed: argparse.Namespace) -> int:
    hint("nothing was written; the same command starts it anew")
    from seqrl.run.config import read_config
    from seqrl.run.configs import find_config
    from seqrl.run.trust import refuse_other_place, run_around

    def read(*changes: str) -> RunConfig:
        return read_config(path, [*parsed.changes, *changes], allow_code=parsed.allow_code or run_around(path) is None)

    path = find_config(parsed.config)
    config = read()
    refuse_other_place(config.runs_folder, path, parsed.changes)
    if parsed.seeds is None:
        from seqrl.run.train import train

        hint(f"nothing was kept of {config.run_folder}; the same command starts it anew")
        return report(train(config, overwrite=parsed.overwrite, display=not parsed.quiet))
    from seqrl.run.seeds import read_seeds, train_seeds

    configs = [read(f"--seed={seed}", f"--name={config.name}_seed{seed}") for seed in read_seeds(parsed.seeds)]
    return train_seeds(configs, overwrite=parsed.overwrite, display=not parsed.quiet)


def _resume(parsed: argparse.Namespace) -> int:
    hint(f"{parsed.folder} is as it was; `{resume_command(parsed.folder)}` goes on")
    from seqrl.run.train import resume

    run, display = parsed.folder, not parsed.quiet
    return report(resume(run, parsed.changes, resume_from=parsed.checkpoint, display=display, allow_code=parsed.allow_code))


def _source(parsed: argparse.Namespace) -> Source:
    """Say where the policy is that a command looks at."""
    from seqrl.run.train import Source

    return Source(parsed.folder, parsed.changes, parsed.checkpoint, parsed.allow_code)


def _evaluate(parsed: argparse.Namespace) -> None:
    from seqrl.run.inspect_run import evaluate

    folder, metrics, signatures = evaluate(_source(parsed), split=parsed.split, output=parsed.output)
    print("\n".join([f"{folder} on {parsed.split}", _table(metrics), *signatures.values()]))


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


def _sample(parsed: argparse.Namespace) -> None:
    from seqrl.run.inspect_run import sample

    for path in sample(_source(parsed), count=parsed.count, output=parsed.output):
        if path.suffix == ".txt":
            print(path.read_text(encoding="utf-8"))
        print(path)


def _export(parsed: argparse.Namespace) -> None:
    from seqrl.run.export import export

    folder = export(_source(parsed), parsed.output, license=parsed.license, push=parsed.push)
    print(f"{parsed.output}: {folder}, with its model card README.md" + (f"; also on the hub as {parsed.push}" if parsed.push else ""))


def _record(parsed: argparse.Namespace) -> None:
    from seqrl.run.inspect_run import record, record_data

    if parsed.data is not None:
        if parsed.output is not None:
            raise ValueError(f"--data, --output: expected one of them, got {parsed.data} and {parsed.output}")
        lines = record_data(_source(parsed), parsed.data, episodes=parsed.episodes, seed=parsed.seed)
        print("\n".join([*lines, str(parsed.data)]))
        return
    path, lines = record(_source(parsed), episodes=parsed.episodes, seed=parsed.seed, output=parsed.output)
    print("\n".join([*lines, str(path)]))


def _chat(parsed: argparse.Namespace) -> None:
    from seqrl.run.chat import chat, open_conversation

    chat(open_conversation(_source(parsed), seed=parsed.seed, mishear=parsed.mishear, voice=parsed.voice), show=parsed.show)


def _play(parsed: argparse.Namespace) -> None:
    from seqrl.run.play import open_match, play

    if parsed.first and parsed.second:
        raise ValueError("--first, --second: expected one of them, got both")
    play(open_match(_source(parsed), first=not parsed.second, simulations=parsed.simulations))


def _show(parsed: argparse.Namespace) -> None:
    from seqrl.run.config import explain, read_config
    from seqrl.run.configs import find_config
    from seqrl.run.trust import run_around

    own = parsed.config / "config.yaml"
    path = find_config(own if own.is_file() else parsed.config)
    print("\n".join(explain(read_config(path, parsed.changes, allow_code=parsed.allow_code or run_around(path) is None))))


def _migrate(parsed: argparse.Namespace) -> None:
    from seqrl.run.migrate import migrate

    for folder in parsed.folders:
        changes = migrate(folder)
        print("\n  ".join([f"{folder}: rewritten", *changes]) if changes else f"{folder}: is up to date")


def _list(parsed: argparse.Namespace) -> None:
    from seqrl.run.listing import listing

    print(listing(parsed.configs, parsed.runs))


def _compare(parsed: argparse.Namespace) -> None:
    from seqrl.run.compare import compare

    print(compare(parsed.folders, metric=parsed.metric, at=parsed.at, x=parsed.x, solved=parsed.solved, output=parsed.output))


if __name__ == "__main__":
    sys.exit(main())
