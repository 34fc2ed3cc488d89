"""What dialogs about restaurants look like: acts as they are written, beliefs as bars, turns to be drawn."""

from __future__ import annotations

from seqrl.tasks.dialog import restaurant_user as user
from seqrl.tasks.dialog.drawing import Turn
from seqrl.tasks.dialog.restaurant_acts import ACTIONS, NUM_ACTIONS
from seqrl.tasks.dialog.restaurant_data import ANY, INFORMABLE, REQUESTABLE, value_of
from seqrl.tasks.dialog.restaurant_user import Said
from seqrl.tasks.dialog.voice import Shown, spoken

BAR, SHOWN = 20, 0.01  # characters of a certain belief; belief from which on something is shown


def user_act(said: Said, row: int) -> str:
    """Write a user's turn as an act, such as inform(food=thai)."""
    slots = [f"{slot}={value_of(n, int(said.values[row, n]))}" for n, slot in enumerate(INFORMABLE) if said.values[row, n] >= 0]
    slots += [REQUESTABLE[said.question[row]]] if said.question[row] >= 0 else []
    return f"{user.USER_ACTS[said.act[row]]}({', '.join(slots)})"


def believed(dialogs: Shown, row: int) -> list[tuple[str, str, float]]:
    """List (slot, value, belief) of all that is believed, each slot's likeliest value first, then the questions that may be open."""
    found = []
    for n, slot in enumerate(INFORMABLE):
        belief = dialogs.state["belief"][row, n]
        found += [(slot, value_of(n, int(v)), float(belief[v])) for v in belief.argsort(kind="stable")[::-1] if belief[v] >= SHOWN]
    state = dialogs.state
    asked = zip(REQUESTABLE, state["wanted"][row], state["answered"][row], strict=True)
    return found + [(slot, "answered" if done else "asked for", float(share)) for slot, share, done in asked if share >= SHOWN]


def bars(dialogs: Shown, row: int) -> list[str]:
    """Write what is believed as bars, a line for each."""
    return [f"{slot:<9} {value:<11} {share:.2f} {'█' * round(BAR * share)}" for slot, value, share in believed(dialogs, row)]


def last_turns(dialogs: Shown, row: int) -> str:
    """Write the last two turns of a dialog: the system's act, and what the user said and what was heard of it."""
    last, offered = int(dialogs.state["last"][row]), int(dialogs.state["offered"][row])
    system = "" if last == NUM_ACTIONS else f"system: {ACTIONS[last]}\n"
    heard = f"{user_act(dialogs.heard, row)} ({dialogs.state['score'][row]:.2f})"
    likeliest = {slot: f"{slot}={value}" for slot, value, _ in reversed(believed(dialogs, row))}
    belief = f"{', '.join(reversed(likeliest.values()))}; offered {dialogs.data.name(offered) if offered >= 0 else 'nothing'}"
    return f"{system}user: {user_act(dialogs.said, row)}, heard: {heard}\nbelieved: {belief}"


def goal(dialogs: Shown, row: int) -> str:
    """Write what the user of a dialog wants."""
    state = dialogs.state
    wishes = [f"{slot}={value_of(n, int(state['constraints'][row, n]))}" for n, slot in enumerate(INFORMABLE)]
    questions = [slot for slot, asked in zip(REQUESTABLE, state["asked"][row], strict=True) if asked]
    return f"{', '.join(wishes)}; wants to know {', '.join(questions)}{'; turns the first one down' if state['fussy'][row] else ''}"


def turn(dialogs: Shown, row: int, reward: float | None, ended: bool) -> Turn:
    """Give the last two turns of a dialog to be drawn; after its end the user says nothing; two values of a slot are shown."""
    last, belief = int(dialogs.state["last"][row]), believed(dialogs, row)
    act, text = ("", "") if last == NUM_ACTIONS else (ACTIONS[last], spoken(dialogs, row).text)
    if ended:
        return Turn(act, text, "", "", 0.0, [], reward)
    counts = [sum(other[0] == slot for other in belief[:place]) for place, (slot, _, _) in enumerate(belief)]
    beliefs = [each for each, before in zip(belief, counts, strict=True) if before < 2 and each[1] != value_of(0, ANY + 1)]
    said, heard = user_act(dialogs.said, row), user_act(dialogs.heard, row)
    return Turn(act, text, said, heard, float(dialogs.state["score"][row]), beliefs, reward)
