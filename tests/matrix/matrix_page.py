"""Write docs/matrix.md from the cells, or say that it is not what they say.

python tests/matrix/matrix_page.py            # after a change of a trainer, a kind of task or a test: write it anew
python tests/matrix/matrix_page.py --check    # tests/matrix/test_matrix_page.py does the same
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import test_matrix_auxiliary as test_auxiliary  # noqa: E402  what the cells are has to be found first
import test_matrix_credit as test_credit  # noqa: E402
import test_matrix_equal as test_equal  # noqa: E402
import test_matrix_imitation as test_mix  # noqa: E402
import test_matrix_padding as test_padding  # noqa: E402
import test_matrix_settings as test_settings  # noqa: E402
from matrix_cells import MISSING, VARIANTS, missing, running, trainers  # noqa: E402
from matrix_kinds import KINDS, PROBABILITY_TABLE  # noqa: E402

PAGE = ROOT / "docs" / "matrix.md"
FAMILIES = {
    "texts": "Texts",
    "glimpses": "Glimpses",
    "environments": "Environments",
    "tables": "Numbered states: one-hot in a network, or a table",
}
# (trainer, kind) -> file of benchmarks/results, and a name in it: there the trainer has learned this kind of task, scored, with its seeds.
MEASURED: dict[tuple[str, str], tuple[str, str]] = {
    ("supervised", "captions"): ("scenes.json", "scenes_more_xe"),
    **{(trainer, "cartpole_shown"): ("imitation.json", trainer) for trainer in ("supervised", "dagger", "gail")},
    ("self_critical", "captions"): ("scenes.json", "scenes_self_critical"),
    ("reinforce", "captions"): ("captioning_trainers.json", "reinforce_leave_one_out"),
    ("reinforce", "captions_critic"): ("captioning_trainers.json", "reinforce_critic"),
    ("ppo", "captions"): ("captioning_trainers.json", "ppo_leave_one_out"),
    ("ppo", "captions_critic"): ("captioning_trainers.json", "ppo_gae"),
    ("reinforce", "glimpses"): ("configs.json", "mnist_6x8"),
    ("reinforce", "glimpses_fixed"): ("configs.json", "task.looking=grid"),
    ("ppo", "cartpole_steps"): ("configs.json", "cartpole_ppo"),
    ("reinforce", "cartpole_episodes"): ("configs.json", "cartpole_reinforce"),
    ("cem", "cartpole_episodes"): ("configs.json", "cartpole_cem"),
    ("trpo", "cartpole_steps"): ("on_policy.json", "cartpole_trpo"),
    ("a2c", "cartpole_steps"): ("on_policy.json", "cartpole_a2c"),
    ("vtrace", "cartpole_steps"): ("on_policy.json", "cartpole_vtrace"),
    ("off_policy", "cartpole_steps"): ("on_policy.json", "cartpole_off_policy"),
    ("alpha_zero", "self_play"): ("boards.json", "tic_tac_toe_alpha_zero"),
    ("dqn", "cartpole_steps"): ("dqn_ablation.json", "replay and target network"),
    ("sac", "cartpole_steps"): ("sac_cartpole.json", "cartpole_sac"),
    **{(trainer, "dialog_steps"): ("dialogue_policy_restaurants.json", trainer) for trainer in ("ppo", "a2c", "dqn")},
    ("reinforce", "dialog_episodes"): ("dialogue_policy_restaurants.json", "reinforce"),
    ("q_table", "table_steps"): ("tables.json", "frozen_lake_q_learning"),
    ("cem", "table_episodes"): ("tables.json", "frozen_lake_cem"),
}
INTRODUCTION = """# What works with what

Written from `tests/matrix` by `python tests/matrix/matrix_page.py`; a test fails when this page and the cells differ. Each cell is a
trainer on a real, tiny task of that kind. "runs": one update on fixed rows learns something, and what the last table names is held there.
"measured": it has also learned a task of this kind to a score, in the file behind the link. "refused": an error says so by name and what to
choose instead, before anything is sampled. What follows "not" are a trainer's settings that are refused where its others run.
"""


def names_of(variants: Iterable[str]) -> str:
    """Name variants by what they add to their trainer's name."""
    return ", ".join(f"`{name.removeprefix(VARIANTS[name].trainer).strip('_') or 'critic'}`" for name in variants)


def cell(trainer: str, kind: str) -> str:
    """Say in a few words what a trainer does on a kind of task."""
    lacks = {name: missing(v, KINDS[kind]) for name, v in VARIANTS.items() if v.trainer == trainer}
    reasons = list(dict.fromkeys(MISSING[lack][1] for lack in lacks.values() if lack is not None))
    if None not in lacks.values():
        return f"refused: {reasons[0]}"
    # That counts are made in tables goes without saying where there are none.
    refused = [name for name, lack in lacks.items() if lack not in (None, PROBABILITY_TABLE)]
    file, _ = MEASURED.get((trainer, kind), ("", ""))
    word = f"[measured](../benchmarks/results/{file})" if file else "runs"
    return f"{word}; not {names_of(refused)}: {reasons[0]}" if refused else word


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Write a table."""
    head = list(head)
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


Pairs = Iterable[tuple[str, str]]
# What is held, in which tests, and on which pairs of variant and kind, read from the tests themselves.
SETTINGS: list[tuple[str, str, str, Pairs]] = [
    ("`accumulation`", "gradients and weights are those without", "test_matrix_equal.py", test_equal.BY_GRADIENT),
    ("order of rows", "gradients and weights are those of any other order", "test_matrix_equal.py", test_equal.FREE_ORDER),
    ("numbers of groups", "any other numbers give the same", "test_matrix_equal.py", test_equal.IN_GROUPS),
    ("padding", "steps and rows that do not count, full of NaN, change nothing", "test_matrix_padding.py", test_padding.PAIRS),
    ("stop, evaluate, resume", "the next update has the same bits", "test_matrix_equal.py", test_equal.PAIRS),
    ("probabilities", "the update sees those of sampling, and the critic's values", "test_matrix_equal.py", test_equal.PROBABLE),
    ("credit", "each step has the return of its own episode, by loops", "test_matrix_credit.py", test_credit.PAIRS),
    (
        "minibatches of rows or steps",
        "weighted by their steps they add up to the batch",
        "test_matrix_settings.py",
        test_settings.MINIBATCHES,
    ),
    (
        "`imitation.weight`",
        "adds the gradient of the demonstrations' cross-entropy, and nothing else",
        "test_matrix_imitation.py",
        test_mix.MIXES,
    ),
    ("`imitation.forced_steps`", "forced steps are imitated and never rewarded", "test_matrix_imitation.py", test_mix.MIXES),
    ("auxiliary loss: classes", "learned on all rows, as by themselves", "test_matrix_auxiliary.py", test_auxiliary.GLIMPSES),
    ("auxiliary loss: words", "learned from demonstrations alone, in parts, too", "test_matrix_auxiliary.py", test_auxiliary.WORDS),
    ("`dropout`", "on in the update where asked for, never in sampling", "test_matrix_settings.py", test_settings.DROPPED),
    ("action masks", "forbidden actions have no probability and no gradient", "test_matrix_settings.py", test_settings.MASKED),
    ("a critic that nobody uses", "the policy's weights have the same bits without", "test_matrix_settings.py", test_settings.UNCRITICAL),
    (
        "memory (LSTM)",
        "all of the above, with rows that begin anew",
        "test_matrix_equal.py",
        [p for p in running() if p[1].startswith("memory")],
    ),
    ("`precision: bf16`", "learns nearly the same; weights stay in fp32", "test_matrix_settings.py", test_settings.HALVED),
]


def settings() -> str:
    """Write which trainers each assertion is made of, and on which families of tasks."""
    rows = []
    for title, held, file, pairs in SETTINGS:
        held_for = {VARIANTS[variant].trainer for variant, _ in pairs}
        families = dict.fromkeys(KINDS[kind].family for _, kind in pairs)
        rows.append([title, held, *("yes" if name in held_for else "" for name in trainers()), ", ".join(families), f"`{file}`"])
    return table(["setting", "what is held", *(f"`{name}`" for name in trainers()), "on", "in"], rows)


def render() -> str:
    """Write the page."""
    parts = [INTRODUCTION]
    for family, title in FAMILIES.items():
        kinds = [name for name, kind in KINDS.items() if kind.family == family]
        rows = [[f"`{trainer}`", *(cell(trainer, kind) for kind in kinds)] for trainer in trainers()]
        parts.append(f"## {title}\n\n{table(['trainer', *(KINDS[kind].title for kind in kinds)], rows)}\n")
    parts.append(
        f"""## Settings

{settings()}

Where a place is empty the trainer has no such setting, or nothing to learn by it. The order of rows matters to a replay and to a table of
action values, which go by the order of steps. Two processes end with the weights of one on texts, glimpses, steps and episodes in
`tests/seqrl/trainers/test_two_processes.py` and `test_invariants.py`.
"""
    )
    return "\n".join(parts)


def main() -> None:
    """Write or check the page; end with 1 when it differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 where the page differs")
    text = render()
    if parser.parse_args().check:
        sys.exit(
            0 if PAGE.read_text(encoding="utf-8") == text else "docs/matrix.md differs; `python tests/matrix/matrix_page.py` writes it anew"
        )
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
