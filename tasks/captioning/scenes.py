"""Built-in data: scenes drawn by a seeded generator, each with five captions, made in seconds and cached."""

from __future__ import annotations

import dataclasses
import json
import logging
from dataclasses import dataclass

import numpy as np

from seqrl.metrics.cache_files import atomic_write, cache_folder, is_writable
from seqrl.metrics.limits import brief
from seqrl.metrics.text_files import read_json
from seqrl.settings import Count, NotNegative, check_settings
from seqrl.tasks.captioning.cache import DAMAGE, content_key
from seqrl.tasks.captioning.scene_captions import write_captions
from seqrl.tasks.captioning.scene_drawing import MAX_FIGURES, describe_figures, draw_figures
from seqrl.tasks.captioning.scene_layout import Draws, Scene, draw_scene

_LOG = logging.getLogger(__name__)
# Raise it with every change that alters a picture or a caption.
_GENERATOR_VERSION = 8
CAPTIONS_A_SCENE = 5


@dataclass
class ScenesConfig:
    """How many scenes to draw.

    Attributes:
        num_train: number of training scenes.
        num_dev: number of dev scenes.
        num_test: number of test scenes.
        seed: of the generator.
    """

    num_train: Count = 4000
    num_dev: Count = 500
    num_test: NotNegative[int] = 500
    seed: int = 0

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class DrawnSplit:
    """Pictures with their captions.

    Attributes:
        image_ids: N names.
        images: uint8 [N, 3, S, S].
        captions: five of each picture.
        scenes: what each picture shows.
        figures: float32 [N, M, 5], where; see `describe_figures`.
    """

    image_ids: list[str]
    images: np.ndarray
    captions: list[list[str]]
    scenes: list[Scene]
    figures: np.ndarray


def describe_scenes(config: ScenesConfig) -> dict[str, list[Scene]]:
    """Draw the descriptions of "test", "dev" and "train", in this order; none comes twice."""
    # Test and dev come first, so that a larger training part leaves them, their pictures and their captions as they are.
    sizes = {"test": config.num_test, "dev": config.num_dev, "train": config.num_train}
    draws = Draws(np.random.default_rng([config.seed, 0]))
    every: dict[Scene, None] = {}
    scenes: dict[str, list[Scene]] = {}
    for name, size in sizes.items():
        start = len(every)
        while len(every) < start + size:
            every.setdefault(draw_scene(draws))
        scenes[name] = list(every)[start:]
    return scenes


def load_scenes(config: ScenesConfig, image_size: int) -> dict[str, DrawnSplit]:
    """Draw all scenes, or map them from the cache.

    Args:
        config: see there.
        image_size: S, pixels.

    Returns:
        "train", "dev" and "test".

    Raises:
        ValueError: see `describe_scenes`.
    """
    scenes = describe_scenes(config)
    folder = cache_folder() / "scenes"
    key = content_key("scenes", _GENERATOR_VERSION, dataclasses.asdict(config), image_size)
    picture_file, figure_file, caption_file = (folder / f"{key}{ending}" for ending in (".npy", ".figures.npy", ".json"))
    # The captions are written last: where they stand, the pictures are whole.
    if picture_file.is_file() and figure_file.is_file() and caption_file.is_file():
        try:
            pictures, figures, captions = np.load(picture_file, mmap_mode="r"), np.load(figure_file), read_json(caption_file)
            wrong = "" if {len(pictures), len(figures), len(captions)} == {sum(map(len, scenes.values()))} else "scenes are missing"
        except DAMAGE as error:
            wrong = str(error) or type(error).__name__
        if not wrong:
            return _part(scenes, pictures, figures, captions)
        _LOG.warning("%s or what lies beside it is damaged (%s): the scenes are drawn again", picture_file, brief(wrong))
    pictures, figures, captions = _make([scene for part in scenes.values() for scene in part], image_size, config.seed)
    if is_writable(folder):
        for path, rows in ((picture_file, pictures), (figure_file, figures)):
            with atomic_write(path) as file:
                np.save(file, rows)
        with atomic_write(caption_file) as file:
            file.write(json.dumps(captions).encode())
    else:
        _LOG.warning("cannot write %s: the scenes will be drawn again next time; set SEQRL_CACHE to a folder that can be written", folder)
    return _part(scenes, pictures, figures, captions)


def _make(scenes: list[Scene], image_size: int, seed: int) -> tuple[np.ndarray, np.ndarray, list[list[str]]]:
    _LOG.info("drawing %d scenes; this happens once", len(scenes))
    # Two streams: the pictures do not change with the grammar.
    drawing, writing = (Draws(np.random.default_rng([seed, stream])) for stream in (1, 2))
    pictures = np.empty((len(scenes), 3, image_size, image_size), dtype=np.uint8)
    figures = np.empty((len(scenes), MAX_FIGURES, 5), dtype=np.float32)
    for row, scene in enumerate(scenes):
        pictures[row], placed = draw_figures(scene, image_size, drawing)
        figures[row] = describe_figures(placed)
    return pictures, figures, [write_captions(scene, CAPTIONS_A_SCENE, writing) for scene in scenes]


def _part(scenes: dict[str, list[Scene]], pictures: np.ndarray, figures: np.ndarray, captions: list[list[str]]) -> dict[str, DrawnSplit]:
    parts, start = {}, 0
    for name, part in scenes.items():
        rows = slice(start, start + len(part))
        ids = [f"scene-{name}-{index:05d}" for index in range(len(part))]
        parts[name] = DrawnSplit(ids, pictures[rows], captions[rows], part, figures[rows])
        start = rows.stop
    return parts
