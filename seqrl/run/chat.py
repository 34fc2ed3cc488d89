"""Lets somebody at a terminal talk to a trained policy."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent
from typing import TextIO

from seqrl.protocols import Conversation
from seqrl.run.train import Source


def open_conversation(source: Source, *, seed: int = 0, mishear: bool = False, voice: Path | None = None) -> Conversation:
    """Load a policy to talk to.

    Args:
        source: of the policy.
        seed: of what is misheard.
        mishear: hear with the errors that the run's configuration tells.
        voice: run whose policy puts the acts into words.

    Raises:
        ValueError: when a number is out of range, nobody can talk to the task, or a checkpoint does not fit.
    """
    if seed < 0:
        raise ValueError(f"--seed: expected at least 0, got {seed}")
    loaded = source.load()
    give = loaded.capability("chat", "nobody can talk to its policies; train one with configs/dialog/restaurant_ppo.yaml, for instance")
    voiced_by = None if voice is None else Source(voice, allow_code=source.allow_code).load()[1:3]
    return give(loaded.policy, seed=seed, mishear=mishear, voice=voiced_by)


def talk(conversation: Conversation, lines: Iterator[str], out: TextIO, *, show: bool = False) -> None:
    """Answer lines until they end or one is /quit.

    A line that begins with / asks for something: a fact by its name, /new, /help or /quit.

    Args:
        conversation: that was opened.
        lines: what is typed.
        out: gets what the system says, and what is asked for.
        show: write all facts after each turn.
    """

    def write(text: str) -> None:
        print(text, file=out, flush=True)

    facts = conversation.facts()
    commands = f"{', '.join(f'/{name}' for name in facts)} show what is behind a turn, /new begins anew, /help, /quit"
    write(f"system: {conversation.begin()}\n  ({commands})")
    for line in lines:
        text = line.strip()
        if text == "/quit":
            break
        if not text:
            continue
        if text == "/new":
            write(f"system: {conversation.begin()}")
        elif text == "/help":
            write(f"  {commands}\n  I can hear {conversation.hears}")
        elif text[0] == "/":
            facts = conversation.facts()
            write(indent(facts[text[1:]], "  ") if text[1:] in facts else f"  there is no {text.split()[0]}; {commands}")
        else:
            said = conversation.reply(text)
            if said is None:
                write(f"  nothing heard, and no turn taken; I can hear {conversation.hears}")
                continue
            write(f"system: {said}")
            facts = conversation.facts()
            if show:
                write(
                    "\n".join(f"  {name}:\n{indent(fact, '    ')}" if "\n" in fact else f"  {name}: {fact}" for name, fact in facts.items())
                )
            if conversation.ended:
                write(f"  the dialog has ended: {facts['paid']}; type to begin another one")


def typed(source: TextIO, prompt: str = "you: ") -> Iterator[str]:
    """Give the lines that are typed, each after a prompt where a person sits there, until the end of the file."""
    person = source.isatty()
    while True:
        if person:
            print(prompt, end="", flush=True)
        line = ""
        try:
            line = source.readline()
        finally:
            if person and not line:  # the end of the file, or Ctrl-C: what follows stands on a line of its own
                print()
        if not line:
            return
        yield line


def chat(conversation: Conversation, *, show: bool = False) -> None:
    """Hold a conversation at the terminal."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # what is no text cannot be understood, but ends nothing
    talk(conversation, typed(sys.stdin), sys.stdout, show=show)
