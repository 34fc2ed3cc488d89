"""From a configuration to a finished run: build, check, train, resume."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from seqrl.distributed import connect, data_seed, from_main, is_main
from seqrl.meetings import told_to_others
from seqrl.protocols import Task, ask
from seqrl.run import checkpoint, recovery, registry
from seqrl.run.config import RunConfig, decisive, fingerprint, read_config, read_tree, write_config
from seqrl.run.display import make_writers
from seqrl.run.elastic import seed_from
from seqrl.run.environment import write_environment
from seqrl.run.lock import hold
from seqrl.run.log import Writer
from seqrl.run.loop import RunResult, fit, watch
from seqrl.run.measured_settings import choose_settings, chosen_before, known_threads, threads
from seqrl.run.memory import explaining
from seqrl.run.run_folder import check_folder, check_writable, delete_earlier_run
from seqrl.run.same_settings import refuse_other_settings
from seqrl.run.saving import num_bytes
from seqrl.run.seeding import seed_everything
from seqrl.run.signatures import evaluation_signatures, reward_signature
from seqrl.run.trust import refuse_links


@told_to_others
def train(
    config: RunConfig,
    *,
    resume: bool = False,
    resume_from: str | None = None,
    overwrite: bool = False,
    display: bool = True,
    space_for: int = 1,
) -> RunResult:
    """Do a run from its configuration.

    Args:
        config: see `RunConfig`.
        resume: go on from the newest checkpoint in the run folder that is not damaged, exactly where the number of processes is the same.
        resume_from: go on from this one instead: number of its step, name or path.
        overwrite: delete an earlier run of this name first.
        display: show progress on the terminal.
        space_for: runs of this size that the disk has to hold, this one included.

    Raises:
        ValueError: when the configuration, the data or the checkpoint do not fit.
        BlockingIOError: when another process works in the run folder, see `seqrl.run.lock`.
        FileExistsError: when the run folder already holds a run.
        FileNotFoundError: when there is nothing to resume or to start from.
        OSError: when the run folder cannot be written or is too full.
    """
    connect(config.process_timeout_s)
    if (resume or resume_from is not None) and not config.run_folder.exists():
        checkpoint.find(config.run_folder)  # says so; the folder is not made for its lock
    with hold(config.run_folder):
        newest, troubles = from_main(recovery.going_on_from(config.run_folder, resume, resume_from), "for the checkpoint to go on from")
        check_folder(config.run_folder, overwrite=overwrite, resume=newest is not None)
        return _train(config, newest, troubles, overwrite=overwrite, display=display, space_for=space_for)


def _train(config: RunConfig, newest: Path | None, troubles: list[str], *, overwrite: bool, display: bool, space_for: int) -> RunResult:
    """Do a run in a folder that is ready for it and held."""
    folder = config.run_folder
    with explaining("before the first update", config):
        config, chosen, task, policy = _resumed(config, newest) if newest is not None else begin(config)
        trainer = config.trainer.build(policy, seed=seed_from(newest, config.seed), num_updates=config.num_updates)
    # Weights, two moments of the optimiser, perhaps the weights in another form; the newest checkpoint beside the best one.
    copies = (4 if hasattr(policy, "save_pretrained") else 3) * (config.keep_checkpoints + 2)
    check_writable(folder, space_for * copies * num_bytes(policy.state_dict()))
    writers: list[Writer] = []
    if is_main():
        if newest is None and overwrite:
            delete_earlier_run(folder)
            refuse_links(folder)
        if newest is not None:
            recovery.leave_newer(folder, newest, troubles)
        writers = make_writers(config, 0 if newest is None else int(checkpoint.read_meta(newest)["step"]), display=display)
        write_config(config, folder / "config.yaml")
        signature = reward_signature(task, trainer)
        signatures = {"reward": signature, "dev": evaluation_signatures(task, "dev")}
        parts = [policy] if hasattr(policy, "how_it_runs") else list(policy.modules())
        way = "; ".join(dict.fromkeys(str(part.how_it_runs) for part in (*parts, trainer) if getattr(part, "how_it_runs", "")))
        write_environment(folder / "env.json", seed=config.seed, chosen=chosen, policy=way, signatures=signatures)
        if display:
            lines = [chosen, *([way] if way else []), *([f"reward {signature}"] if signature else [])]
            print("\n".join(f"{config.name}: {line}" for line in lines))
    return fit(
        trainer,
        task,
        policy=policy,
        num_updates=config.num_updates,
        run_folder=folder,
        eval_every=config.eval_every,
        save_every=config.save_every,
        save_minutes=config.save_minutes,
        log_every=config.log_every,
        keep_checkpoints=config.keep_checkpoints,
        early_stop=config.early_stop,
        writers=writers,
        meta={"config": decisive(config), "fingerprint": fingerprint(config), "task": task_fingerprints(task)},
        resume_from=newest,
        split_batches=config.split_batches,
    )


def begin(config: RunConfig) -> tuple[RunConfig, str, Task, nn.Module]:
    """Choose what the configuration leaves to a measurement; give it whole, what was chosen, the task and the first policy."""
    asked, known = config, known_threads(config)
    if known is not None:
        config = dataclasses.replace(config, num_threads=known[0])
    task, policy = _start(config)
    settings = choose_settings(asked, _start, task, policy)
    # All of it is kept in config.yaml, so that a run from there, or a resumed one, computes the same to the bit.
    config = settings.applied(config)
    if settings.measured:
        del task, policy
        gc.collect()  # closes the environments
        task, policy = _start(config)
    torch.set_num_threads(settings.num_threads)
    return config, str(settings), task, policy


def _resumed(config: RunConfig, newest: Path) -> tuple[RunConfig, str, Task, nn.Module]:
    """Give the same of a run that goes on, where nothing is chosen anew."""
    kept = config.run_folder / "config.yaml"
    if kept.is_file():
        config = chosen_before(config, read_tree(kept))
    config = dataclasses.replace(config, num_threads=config.num_threads or 1)
    task, policy = build(config, seed_from(newest, config.seed))
    checkpoint.check_fingerprints(checkpoint.read_meta(newest).get("task", {}), task_fingerprints(task), folder=newest)
    checkpoint.load_weights(newest, policy)
    refuse_other_settings(newest, config)
    return config, f"{threads(config.num_threads or 1)} and dtypes as when it began", task, policy


def _start(config: RunConfig) -> tuple[Task, nn.Module]:
    """Build task and policy of a new run, with the weights that it starts from."""
    task, policy = build(config)
    if config.init_from is not None:
        start_from(config.init_from, policy, {} if config.allow_other_fingerprint else task_fingerprints(task))
    return task, policy


def resume(
    run_folder: Path | str, overrides: Sequence[str] = (), *, resume_from: str | None = None, display: bool = True, allow_code: bool = False
) -> RunResult:
    """Go on with an interrupted run, or with a finished one when `--num_updates=` asks for more.

    Args:
        run_folder: of the run.
        overrides: changes of the configuration.
        resume_from: go on from this checkpoint instead of the newest whole one: number of its step, name or path.
        display: show progress on the terminal.
        allow_code: see `Source`.

    Raises:
        FileNotFoundError: when the folder holds no run or no checkpoint.
        ValueError: when an override changes the seed, the task or the trainer, which an exact resume cannot honour.
    """
    return train(read_run(run_folder, overrides, allow_code=allow_code), resume=True, resume_from=resume_from, display=display)


def build(config: RunConfig, seed: int | None = None) -> tuple[Task, nn.Module]:
    """Seed everything, then make the task and a fresh policy; with one thread where no number is set, so that its weights are the same.

    Args:
        config: of the run.
        seed: another one than the run's.
    """
    seed = config.seed if seed is None else seed
    seed_everything(seed, deterministic=config.deterministic, num_threads=config.num_threads or 1)
    task = config.task.build(config.seed if config.split_batches else data_seed(seed))
    return task, task.build_policy()


class Loaded(NamedTuple):
    """A trained policy with what it was trained on.

    Attributes:
        config: of its run.
        task: as the configuration says.
        policy: with the checkpoint's weights.
        folder: of the checkpoint.
        meta: the checkpoint's meta.json as it was then: a run that goes on may replace it soon.
    """

    config: RunConfig
    task: Task
    policy: nn.Module
    folder: Path
    meta: dict[str, Any]

    @property
    def run_folder(self) -> Path:
        """Folder of the run."""
        return self.folder.parent.parent

    def capability(self, name: str, otherwise: str) -> Callable[..., Any]:
        """Give a method that tasks may have.

        Raises:
            ValueError: when this one has none: its name, and `otherwise`.
        """
        give = getattr(self.task, name, None)
        if not callable(give):
            raise ValueError(f"task {registry.name_of(registry.TASKS, type(self.config.task))}: {otherwise}")
        return give


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a trained policy is.

    Attributes:
        run: run folder, or one of its checkpoints.
        overrides: changes of the configuration, for instance `--task.decoding.beam_size=5`.
        which: take this checkpoint of the run: number of its step, name or path.
        allow_code: import what the run's configuration names by `module:name` and no installed package has registered; for runs that
            are your own, or whose code you have read.
    """

    run: Path
    overrides: Sequence[str] = ()
    which: str | None = None
    allow_code: bool = False

    def find(self, prefer_best: bool = True) -> Path:
        """Give the checkpoint's folder, of a run folder that of the best one where there is one."""
        return checkpoint.find(self.run, prefer_best=prefer_best) if self.which is None else recovery.named(self.run, self.which)

    def load(self, prefer_best: bool = True) -> Loaded:
        """Build the task and the trained policy.

        Raises:
            ValueError: when the run names code that is not allowed, or holds links that lead out of it.
        """
        find = partial(self.find, prefer_best)
        config = read_run(find().parent.parent, self.overrides, allow_code=self.allow_code)
        refuse_links(config.run_folder)
        task, policy = build(config)
        watch(task, config.early_stop)
        folder, meta = _read_weights(find, policy, {} if config.allow_other_fingerprint else task_fingerprints(task))
        return Loaded(config, task, policy, folder, meta)


def load(
    run: Path | str, overrides: Sequence[str] = (), *, prefer_best: bool = True, allow_code: bool = False
) -> tuple[RunConfig, Task, nn.Module, Path]:
    """Give configuration, task, policy and checkpoint folder of a trained policy; see `Source`."""
    return Source(Path(run), overrides, allow_code=allow_code).load(prefer_best)[:4]


def read_run(run_folder: Path | str, overrides: Sequence[str] = (), *, allow_code: bool = False) -> RunConfig:
    """Read a run's configuration; the folder may have been moved since.

    Raises:
        FileNotFoundError: when the folder holds no run.
    """
    run_folder = Path(run_folder)
    if not (run_folder / "config.yaml").is_file():
        raise FileNotFoundError(f"{run_folder}: expected the folder of a run, with a config.yaml; `seqrl list` names those at hand")
    config = read_config(run_folder / "config.yaml", overrides, allow_code=allow_code)
    depth = len(Path(config.name).parts)
    if run_folder.parts[-depth:] != Path(config.name).parts:
        return dataclasses.replace(config, name=run_folder.resolve().name, runs_folder=run_folder.resolve().parent)
    return dataclasses.replace(config, runs_folder=Path(*run_folder.parts[:-depth]))


def start_from(path: Path, policy: nn.Module, fingerprints: dict[str, Any]) -> Path:
    """Load the weights of a run or checkpoint folder, the best ones where they are marked; give the folder used.

    Raises:
        ValueError: when the checkpoint is damaged, of other data or of another architecture.
    """
    return _read_weights(lambda: checkpoint.find(path, prefer_best=True), policy, fingerprints)[0]


def _read_weights(find: Callable[[], Path], policy: nn.Module, fingerprints: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    def read(folder: Path) -> tuple[Path, dict[str, Any]]:
        recovery.check(folder)
        meta = checkpoint.read_meta(folder)
        checkpoint.check_fingerprints(meta.get("task", {}), fingerprints, folder=folder)
        checkpoint.load_weights(folder, policy)
        return folder, meta

    return recovery.steadily(find, read)


def task_fingerprints(task: Task) -> dict[str, Any]:
    """Give what a task's weights depend on besides the configuration, for instance a vocabulary's fingerprint."""
    return dict(ask(task, "fingerprint", otherwise={}))
