"""Puts the acts of the restaurant domain into words: by templates, or by a policy that writes texts about acts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from numpy.typing import NDArray

from seqrl.tasks.dialog.arrays import Numbers
from seqrl.tasks.dialog.restaurant_acts import ACTIONS, FAREWELL, OFFER, OTHERS, SLOTS, TELL
from seqrl.tasks.dialog.restaurant_data import ANY, INFORMABLE, REQUESTABLE, VALUES, RestaurantData, value_of
from seqrl.tasks.dialog.restaurant_user import Said

GREETING = "Hello. What are you looking for?"
_ASKED = (
    "What kind of food would you like?",
    "Which part of town do you have in mind?",
    "Would you like it cheap, moderate or expensive?",
)
_THING = ("{} food", "something in the {}", "{} prices")
_ANYTHING = ("any kind of food", "any part of town", "any price")
# What data about restaurants call the slots.
_NAMES = {"food": "food", "area": "area", "price": "pricerange"}


class Shown(Protocol):
    """What is read of `seqrl.tasks.dialog.restaurant_dialogs.RestaurantDialogs`."""

    data: RestaurantData
    state: dict[str, NDArray[Any]]
    said: Said
    heard: Said
    meant: Numbers
    choices: Numbers
    told: Numbers


@dataclass(frozen=True)
class SystemAct:
    """What the system says.

    Attributes:
        kind: inform, request, confirm, select, inform_no_match or goodbye.
        slots: names and values; "?" for what is asked.
        text: by a template.
    """

    kind: str
    slots: dict[str, str] = field(default_factory=dict)
    text: str = ""


def spoken(dialogs: Shown, row: int) -> SystemAct:
    """Give the last act of a dialog."""
    state, action, likeliest = dialogs.state, int(dialogs.state["last"][row]), dialogs.meant[row]
    if action == FAREWELL:
        return SystemAct("goodbye", {}, "Goodbye, and enjoy your meal.")
    if action < OFFER:
        return _about_slot(dialogs, row, ACTIONS[action].split("(")[0], action % SLOTS)
    wanted = {
        _NAMES[slot]: VALUES[n][value] for n, (slot, value) in enumerate(zip(INFORMABLE, likeliest, strict=True)) if value < len(VALUES[n])
    }
    if state["empty"][row]:
        other = "other " if action == OTHERS and state["offered"][row] >= 0 else ""
        food, area, price = (wanted.get(_NAMES[slot], "") for slot in INFORMABLE)
        kind = " ".join(word for word in (price, food, "restaurant") if word)
        return SystemAct("inform_no_match", wanted, f"I am sorry, I know no {other}{kind}{f' in the {area}' if area else ''}.")
    number = int(state["offered"][row])
    name = dialogs.data.name(number)
    if action == TELL:
        slot = REQUESTABLE[int(dialogs.told[row])]
        value = dialogs.data.fact(number, slot)
        return SystemAct("inform", {"name": name, slot: value}, f"The {slot} of {name.title()} is {value}.")
    food, area, price = (VALUES[n][value] for n, value in enumerate(dialogs.data.restaurants[number]))
    opening = "Another one is" if action == OTHERS else "There is"
    text = f"{opening} {name.title()}, {price}, with {food} food, in the {area}."
    return SystemAct("inform", {"name": name, "food": food, "area": area, "pricerange": price}, text)


def _about_slot(dialogs: Shown, row: int, act: str, slot: int) -> SystemAct:
    """Say a request, a confirmation or a choice."""
    name, value = _NAMES[INFORMABLE[slot]], int(dialogs.meant[row, slot])
    if act == "request":
        return SystemAct("request", {name: "?"}, _ASKED[slot])
    if act == "confirm":
        wanted = value_of(slot, value)
        thing = _ANYTHING[slot] if value == ANY else _THING[slot].format(wanted)
        return SystemAct("confirm", {name: wanted}, f"You want {thing}, is that right?")
    first, second = (value_of(slot, int(n)) for n in dialogs.choices[row])
    return SystemAct("select", {name: f"{first} or {second}"}, f"Would you like {_THING[slot].format(f'{first} or {second}')}?")


class WrittenVoice:
    """Lets a policy that was trained to put acts into words say what the system does.

    Args:
        task: a `seqrl.tasks.text.task.TextTask` whose prompts are acts with slots in the place of values, such as
            `inform SLOT_NAME SLOT_FOOD` of the built-in data or of RNNLG's.
        policy: that it trained.

    Raises:
        ValueError: when the task writes about something else.
    """

    def __init__(self, task: Any, policy: Any) -> None:
        from seqrl.tasks.text.task import TextTask

        prompts = list(task.train.pairs.prompts) if isinstance(task, TextTask) else []  # what it has learned to say
        self.task, self.policy = task, policy
        self.known = {frozenset(prompt.split()): prompt for prompt in prompts if "SLOT_" in prompt or "=?" in prompt or prompt == "goodbye"}
        if not any("SLOT_NAME" in parts for parts in self.known):
            raise ValueError(
                "--voice: expected the run of a text task whose prompts are acts with slots, such as `inform SLOT_NAME SLOT_FOOD`; "
                "train one with configs/dialog/builtin_xe.yaml or restaurant_xe.yaml"
            )

    def say(self, act: SystemAct) -> str:
        """Write an act by the nearest one that the policy's data knows; by the template where there is none that is as good."""
        prompt = self._prompt(act)
        if prompt is None:
            return act.text
        text = f" {self.task.reply(self.policy, [prompt])[0]} "
        for slot, value in {**act.slots, "type": "restaurant"}.items():
            text = text.replace(f" SLOT_{slot.upper()} ", f" {value} ")
        return text.strip()

    def _prompt(self, act: SystemAct) -> str | None:
        """Find the prompt that says most of an act and nothing else; its name, its answer or its question have to be in it."""
        parts = {f"{slot}=?" if value == "?" else f"SLOT_{slot.upper()}" for slot, value in act.slots.items()}
        needed = {"SLOT_NAME"} & parts | {f"SLOT_{slot.upper()}" for slot in REQUESTABLE if slot in act.slots}
        needed = needed or parts
        found = []
        for kind in (act.kind, f"?{act.kind}"):
            for known, prompt in self.known.items():
                rest = known - {kind, "SLOT_TYPE"}
                if kind in known and rest <= parts and needed <= rest:
                    found.append((len(rest), prompt))
        return max(found)[1] if found else None
