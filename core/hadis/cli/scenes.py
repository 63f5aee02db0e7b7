"""The little world that the example models draw: one to four coloured shapes in the corners of a picture.

Only words live here, so that the load generator can make prompts without torch; `hadis_profiler.scenes` draws
the pictures and trains the models.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

SHAPES = ("circle", "square", "triangle")
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
SIZES = ("small", "big")
CORNERS = ("top left", "top right", "bottom left", "bottom right")
BACKGROUNDS = ("white", "black", "grey", "pink")


@dataclass(frozen=True)
class Thing:
    """One shape: indices into SHAPES, COLOURS, SIZES and CORNERS."""

    shape: int
    colour: int
    size: int
    corner: int

    def __str__(self) -> str:
        """Return the words for this thing, for example "a big red circle top left"."""
        return f"a {SIZES[self.size]} {COLOURS[self.colour]} {SHAPES[self.shape]} {CORNERS[self.corner]}"


@dataclass(frozen=True)
class Scene:
    """Things in distinct corners on a background (an index into BACKGROUNDS)."""

    things: tuple[Thing, ...]
    background: int

    def __str__(self) -> str:
        """Return the caption, which is also the prompt that asks for this scene."""
        return " and ".join(map(str, self.things)) + f" on {BACKGROUNDS[self.background]}"


def parse_scene(text: str) -> Scene:
    """Return the scene that a caption describes; raise ValueError for a text that is none."""
    try:
        captions, background = text.rsplit(" on ", 1)
        things = []
        for caption in captions.split(" and "):
            article, size, colour, shape, corner = caption.split(" ", 4)
            if article != "a":
                raise ValueError
            things.append(Thing(SHAPES.index(shape), COLOURS.index(colour), SIZES.index(size), CORNERS.index(corner)))
        return Scene(tuple(things), BACKGROUNDS.index(background))
    except ValueError:
        raise ValueError(f"{text!r} is no scene; write for example: a big red circle top left on white") from None


def random_scene(rng: random.Random, things: int | None = None) -> Scene:
    """Return a scene of the given number of things (1-4), or of a number drawn evenly."""
    count = things if things is not None else rng.randint(1, 4)
    corners = rng.sample(range(len(CORNERS)), count)
    return Scene(
        tuple(
            Thing(rng.randrange(len(SHAPES)), rng.randrange(len(COLOURS)), rng.randrange(len(SIZES)), corner)
            for corner in corners
        ),
        rng.randrange(len(BACKGROUNDS)),
    )
