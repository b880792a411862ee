"""A person in one English sentence: clothes, colours, what is carried and worn on the head.

No gender, age or origin: only what clothes and hair show. Half the sentences are worded otherwise,
so that a text tower learns words rather than a form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crosscam_trainer.people.wardrobe import article

if TYPE_CHECKING:
    from crosscam_trainer.people.people import Person
    from crosscam_trainer.people.wardrobe import Outfit


def _hair(person: Person, outfit: Outfit) -> str:
    if outfit.hat == "hood":
        return "the hood up"
    if person.hair == "bald":
        return "a shaved head"
    named = {"bun": "tied-up", "bob": "chin-length", "afro": "curly"}.get(person.hair, person.hair)
    if person.hair == "ponytail":
        return f"a {person.hair_colour} ponytail"
    return f"{named} {person.hair_colour} hair"


def caption(person: Person, outfit: Outfit) -> str:
    """The sentence; the same for the same person and outfit."""
    rng = np.random.default_rng([outfit.seed, person.number, 7])
    worn = [article(outfit.top.words(), outfit.top.kind)]
    if outfit.bottom.kind != "dress":
        worn.append(article(outfit.bottom.words(), outfit.bottom.kind))
    shoes = f"{outfit.shoes.colour} {outfit.shoes.kind}"
    extras = []
    if outfit.hat and outfit.hat != "hood":
        extras.append(article(f"{outfit.hat_colour} {outfit.hat}", outfit.hat))
    if outfit.scarf:
        extras.append(article(f"{outfit.scarf} scarf", "scarf"))
    carried = []
    if outfit.bag:
        carried.append(article(f"{outfit.bag_colour} {outfit.bag}", outfit.bag))
    if outfit.phone:
        carried.append("a phone")
    hair = _hair(person, outfit)
    if rng.random() < 0.5:
        text = f"A person with {hair} wearing {_listed([*worn, shoes, *extras])}"
        return f"{text}, carrying {_listed(carried)}." if carried else f"{text}."
    start = _listed([*worn, *extras])
    text = f"{start[0].upper()}{start[1:]}, {shoes}, {hair}"
    return f"{text}, with {_listed(carried)}." if carried else f"{text}."


def _listed(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
