"""Where a recurrent attention model looked: a PNG with every glimpse, and an animation of one glimpse after the other."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw

from seqrl.tasks.attention.looks import Look
from seqrl.tasks.fonts import fit_text, load_font

# Okabe and Ito's green and vermilion, which colour-blind readers can tell apart.
RIGHT, WRONG, OTHER = "#009E73", "#D55E00", "#9A9A9A"
PAGE, OUTSIDE, TRACK, TEXT, FAINT = "#FFFFFF", "#D9D9D9", "#EFEFEF", "#1C1C1C", "#6A6A6A"
# Pixels: about an image's side, a glimpse's in the PNG and in the GIF, the widest class name, a badge's radius on a page and on an image.
SCENE_SIZE, CELL_SIZE, RETINA_SIZE, NAME_WIDTH, BADGE, SMALL_BADGE = 216, 136, 112, 110, 9, 7
GAP, LINE_HEIGHT, TEXT_SIZE = 16, 17, 13
SMOOTHING = 3  # shapes are drawn this many times larger and then averaged
STEP_MS, PAUSE_MS = 700, 2000
LARGEST_COLUMNS = 4


def draw_looks(looks: Sequence[Look], class_names: Sequence[str], directory: Path) -> list[Path]:
    """Write `glimpses.png`, a row an image and a column a glimpse, and `glimpses.gif`, a frame a glimpse.

    A step has the same colour everywhere, from dark for the first to light for the last. In the bars the true class is green, another
    that is most probable is red. A grey margin is what lies outside the image; an outline that leaves it as well is cut off.

    Args:
        looks: at least one, all of the same shapes.
        class_names: C of them.
        directory: made where it does not exist; the two files in it are replaced at once.

    Returns:
        The two files.

    Raises:
        ValueError: when there is nothing to draw, or the policy gave numbers that are not finite.

    Source: Mnih et al. (2014), "Recurrent Models of Visual Attention", figure 3.
    """
    if not looks or not all(np.isfinite(look.probabilities).all() for look in looks):
        came = "numbers that are not finite; go back to an earlier checkpoint" if looks else "none"
        raise ValueError(f"expected at least one look to draw, got {came}")
    directory.mkdir(parents=True, exist_ok=True)
    colours = step_colours(len(looks[0].locations))
    table = _draw_table(looks, class_names, colours)
    palette = _palette(colours)
    frames = [_indexed(_draw_frame(looks, class_names, colours, step), palette) for step in range(len(colours))]
    files = [directory / "glimpses.png", directory / "glimpses.gif"]
    beside = [file.with_name(f".{file.name}.partial") for file in files]
    table.save(beside[0], format="PNG")
    durations = [STEP_MS] * (len(frames) - 1) + [PAUSE_MS]
    frames[0].save(beside[1], format="GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)
    for partial, file in zip(beside, files, strict=True):
        os.replace(partial, file)
    return files


def step_colours(num_steps: int) -> list[str]:
    """Give each step a colour that can be seen on black and on white, as #rrggbb."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(colormaps["plasma"](place)) for place in np.linspace(0.28, 0.88, num_steps)]


def _draw_table(looks: Sequence[Look], names: Sequence[str], colours: Sequence[str]) -> Image.Image:
    """Draw a row for each image: the image with its path and the verdict, then a column for each glimpse."""
    name_width = _name_width(looks, names)
    width = max(CELL_SIZE, name_width + 120)
    rows = []
    for look in looks:
        cells = [_draw_image(look, names, colours, len(colours) - 1, numbered=True)]
        for step, colour in enumerate(colours):
            retina = _draw_retina(look.glimpses[step], CELL_SIZE, colour)
            cells.append(_join([retina, _draw_bars(look, step, names, width, name_width)], 6, down=True))
        rows.append(_join(cells, GAP, down=False))
    word = Image.new("RGB", (rows[0].width - len(colours) * (width + GAP), 2 * BADGE + 2), PAGE)
    ImageDraw.Draw(word).text((word.width, BADGE), "glimpse", fill=FAINT, anchor="rm", font=load_font(TEXT_SIZE))
    badges = _join([_draw_badge(CELL_SIZE, step, colour) for step, colour in enumerate(colours)], width + GAP - CELL_SIZE, down=False)
    return _join([_join([word, badges], GAP, down=False), *rows], GAP, down=True, border=GAP)


def _draw_frame(looks: Sequence[Look], names: Sequence[str], colours: Sequence[str], step: int) -> Image.Image:
    """Draw one step of all images: each with the glimpse's outlines, and the retina and the probabilities below it."""
    name_width = _name_width(looks, names)
    cards = []
    for look in looks:
        picture = _draw_image(look, names, colours, step, numbered=False)
        retina = _draw_retina(look.glimpses[step], RETINA_SIZE, colours[step])
        beside = name_width < 40  # longer names need the whole width
        bars = _draw_bars(look, step, names, picture.width - (retina.width + 10 if beside else 0), name_width)
        cards.append(_join([picture, _join([retina, bars], 10 if beside else 6, down=not beside)], 8, down=True))
    num_rows = -(-len(cards) // LARGEST_COLUMNS)
    columns = -(-len(cards) // num_rows)
    rows = [_join(cards[first : first + columns], GAP, down=False) for first in range(0, len(cards), columns)]
    word = Image.new("RGB", (62, 2 * BADGE + 2), PAGE)
    ImageDraw.Draw(word).text((0, BADGE), "glimpse", fill=FAINT, anchor="lm", font=load_font(TEXT_SIZE))
    badges = [_draw_badge(2 * BADGE + 2, other, colour if other <= step else OUTSIDE) for other, colour in enumerate(colours)]
    return _join([_join([word, *badges], 5, down=False), *rows], GAP, down=True, border=GAP)


def _draw_image(look: Look, names: Sequence[str], colours: Sequence[str], last: int, *, numbered: bool) -> Image.Image:
    """Draw the image with the path up to a step, and below it the true classes and what was most probable after that step."""
    scene = _draw_scene(look, colours, last, numbered=numbered)
    answer = look.probabilities[last].argmax(axis=1).tolist()
    mark, verdict = (" ✓", RIGHT) if answer == list(look.labels) else (" ✗", WRONG)
    lines = Image.new("RGB", (max(scene.width, SCENE_SIZE), 2 * LINE_HEIGHT + 2), PAGE)
    pen, font, bold = ImageDraw.Draw(lines), load_font(TEXT_SIZE), load_font(TEXT_SIZE, bold=True)
    left, room = 76, lines.width - 76 - bold.getlength(mark)
    truth, said = (" ".join(names[c] for c in classes) for classes in (look.labels, answer))
    pen.text((0, 0.5 * LINE_HEIGHT), "true", fill=FAINT, anchor="lm", font=font)
    pen.text((left, 0.5 * LINE_HEIGHT), fit_text(truth, font, room), fill=TEXT, anchor="lm", font=font)
    pen.text((0, 1.5 * LINE_HEIGHT), "predicted", fill=FAINT, anchor="lm", font=font)
    pen.text((left, 1.5 * LINE_HEIGHT), fit_text(said, bold, room) + mark, fill=verdict, anchor="lm", font=bold)
    return _join([scene, lines], 4, down=True)


def _draw_scene(look: Look, colours: Sequence[str], last: int, *, numbered: bool) -> Image.Image:
    """Draw the image and the path up to a step: with numbers and all finest outlines, or else with the last outline at every scale."""
    # The margin keeps the finest outline in sight; a pixel of the image becomes a whole number of pixels where it can.
    margin = min(-(-look.glimpses.shape[-1] // 2), max(look.image.shape) // 4)
    zoom = SCENE_SIZE / (max(look.image.shape) + 2 * margin)
    zoom = round(zoom) if zoom >= 1 else zoom
    padded = Image.fromarray(np.pad(look.image, margin)).convert("RGB")
    padded.paste(OUTSIDE, (0, 0, *padded.size))
    padded.paste(Image.fromarray(look.image), (margin, margin))
    size = (round(padded.width * zoom) * SMOOTHING, round(padded.height * zoom) * SMOOTHING)
    scene = padded.resize(size, Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(scene)
    for step, scale in [(step, 0) for step in range(last + 1)] if numbered else [(last, scale) for scale in range(look.glimpses.shape[1])]:
        left, top, right, bottom = (SMOOTHING * round(zoom * (edge + margin)) for edge in look.outline(step, scale))
        thickness = SMOOTHING * (1 if numbered else 3 if scale == 0 else 2)
        pen.rectangle((left, top, right - 1, bottom - 1), outline=colours[step], width=thickness)
    centres = (look.centres + margin) * zoom * SMOOTHING
    for step in range(1, last + 1):
        pen.line((*centres[step - 1], *centres[step]), fill=colours[step], width=2 * SMOOTHING)
    for centre, colour in zip(centres[: last + 1], colours, strict=False):
        _disc(pen, centre, 3.5 * SMOOTHING, colour)
    if numbered:
        places = _spread(centres, 2.1 * SMALL_BADGE * SMOOTHING, size)
        for step, (place, centre) in enumerate(zip(places, centres, strict=True)):
            pen.line((*centre, *place), fill=colours[step], width=SMOOTHING)
        for step, place in enumerate(places):
            _badge(pen, place, step, colours[step], SMALL_BADGE)
    return scene.reduce(SMOOTHING)


def _spread(points: NDArray[np.float64], distance: float, size: tuple[int, int]) -> NDArray[np.float64]:
    """Push points apart until none are nearer than `distance`, or it has been tried often enough, inside a picture of `size`."""
    order = np.arange(len(points))[:, None]
    # Equal points part in different directions, by the golden angle; and no two are pushed into exactly the same corner.
    places = points + 0.01 * np.concatenate([np.cos(2.4 * order), np.sin(2.4 * order)], axis=1)
    edge = distance / 2 + 0.01 * order
    for _ in range(200):
        apart = places[:, None] - places[None]
        lengths = np.linalg.norm(apart, axis=2) + np.eye(len(points)) * 2 * distance
        push = np.clip(distance - lengths, 0, None) / 2
        if not push.any():
            break
        places = places + (apart / lengths[..., None] * push[..., None]).sum(axis=1)
        places = np.clip(places, edge, np.array(size) - edge)
    return places


def _disc(pen: ImageDraw.ImageDraw, centre: Sequence[float] | NDArray[np.float64], radius: float, colour: str) -> None:
    """Draw a disc with a white edge."""
    x, y = (float(value) for value in centre)
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour, outline=PAGE, width=SMOOTHING)


def _badge(pen: ImageDraw.ImageDraw, centre: Sequence[float] | NDArray[np.float64], step: int, colour: str, radius: int) -> None:
    """Draw a step's number, counted from 1, in a disc of its colour."""
    _disc(pen, centre, radius * SMOOTHING, colour)
    ink = TEXT if np.dot(ImageColor.getrgb(colour), (0.299, 0.587, 0.114)) > 140 else PAGE
    pen.text(
        (float(centre[0]), float(centre[1])), str(step + 1), fill=ink, anchor="mm", font=load_font((radius + 2) * SMOOTHING, bold=True)
    )


def _draw_badge(width: int, step: int, colour: str) -> Image.Image:
    """Draw a badge in the middle of a picture as wide as a column."""
    picture = Image.new("RGB", (width * SMOOTHING, (2 * BADGE + 2) * SMOOTHING), PAGE)
    _badge(ImageDraw.Draw(picture), (picture.width / 2, picture.height / 2), step, colour, BADGE)
    return picture.reduce(SMOOTHING)


def _draw_retina(glimpse: NDArray[np.float32], size: int, colour: str) -> Image.Image:
    """Draw the scales of a glimpse [S, g, g]: the finest large, the others in a line below it."""
    others = len(glimpse) - 1
    small = min(size // 2, (size - 4 * (others - 1)) // others) if others else 0
    retina = Image.new("RGB", (size, size + (small + 4 if others else 0)), PAGE)
    for scale, values in enumerate(glimpse):
        side, edge = (size, 4) if scale == 0 else (small, 2)
        place = (0, 0) if scale == 0 else ((scale - 1) * (size - small) // max(others - 1, 1), size + 4)
        pixels = Image.fromarray((np.clip(values, 0, 1) * 255).round().astype(np.uint8))
        retina.paste(colour, (*place, place[0] + side, place[1] + side))
        inner = (side - 2 * edge, side - 2 * edge)
        retina.paste(pixels.resize(inner, Image.Resampling.NEAREST), (place[0] + edge, place[1] + edge))
    return retina


def _draw_bars(look: Look, step: int, names: Sequence[str], width: int, name_width: int) -> Image.Image:
    """Draw the probabilities after a step: a bar for each class that is shown, in the same places at every step."""
    shown, font, bold = look.shown(), load_font(TEXT_SIZE), load_font(TEXT_SIZE, bold=True)
    chart = Image.new("RGB", (width, LINE_HEIGHT * sum(len(classes) for classes in shown) + 8 * (len(shown) - 1)), PAGE)
    pen = ImageDraw.Draw(chart)
    left, right = name_width + 6, width - round(bold.getlength("100%")) - 4
    top = 0
    for label, classes, belief in zip(look.labels, shown, look.probabilities[step], strict=True):
        for c in classes:
            colour = RIGHT if c == label else WRONG if c == int(belief.argmax()) else OTHER
            style, ink = (bold, RIGHT) if c == label else (font, TEXT)
            pen.text((0, top + LINE_HEIGHT / 2), fit_text(names[c], style, name_width), fill=ink, anchor="lm", font=style)
            pen.text((width, top + LINE_HEIGHT / 2), f"{100 * float(belief[c]):.0f}%", fill=ink, anchor="rm", font=style)
            chart.paste(TRACK, (left, top + 3, right, top + LINE_HEIGHT - 3))
            chart.paste(colour, (left, top + 3, left + round(float(belief[c]) * (right - left)), top + LINE_HEIGHT - 3))
            top += LINE_HEIGHT
        top += 8
    return chart


def _name_width(looks: Sequence[Look], names: Sequence[str]) -> int:
    """Reckon the width of the longest name in the charts, in pixels."""
    shown = {names[c] for look in looks for classes in look.shown() for c in classes}
    return min(NAME_WIDTH, round(max(load_font(TEXT_SIZE, bold=True).getlength(name) for name in shown)) + 1)


def _join(pictures: Sequence[Image.Image], gap: int, *, down: bool, border: int = 0) -> Image.Image:
    """Put pictures below or beside each other, with room between and around them."""
    widths, heights = [picture.width for picture in pictures], [picture.height for picture in pictures]
    gaps = gap * (len(pictures) - 1)
    width, height = (max(widths), sum(heights) + gaps) if down else (sum(widths) + gaps, max(heights))
    joined = Image.new("RGB", (width + 2 * border, height + 2 * border), PAGE)
    place = border
    for picture in pictures:
        joined.paste(picture, (border, place) if down else (place, border))
        place += (picture.height if down else picture.width) + gap
    return joined


def _palette(colours: Sequence[str]) -> NDArray[np.uint8]:
    """Make 256 colours [256, 3]: each of ours as it is and on its way to white and to black, the rest greys."""
    ours = [np.array(ImageColor.getrgb(colour)) for colour in (RIGHT, WRONG, *colours)][:36]
    mixed = [
        end + (own - end) * share for own in ours for end, share in ((0, 1.0), (0, 0.6), (0, 0.3), (255, 0.75), (255, 0.5), (255, 0.25))
    ]
    greys = np.linspace(0, 255, 256 - len(mixed))[:, None].repeat(3, axis=1)
    return np.concatenate([np.array(mixed), greys]).round().astype(np.uint8)


def _indexed(frame: Image.Image, palette: NDArray[np.uint8]) -> Image.Image:
    """Replace each colour by the nearest of the palette; Pillow's own way is not exact, and a page would not stay white."""
    pixels = np.asarray(frame).astype(np.int64)
    present, where = np.unique(pixels @ np.array([65536, 256, 1]), return_inverse=True)
    split = np.stack([present >> 16, present >> 8 & 255, present & 255], axis=1)
    nearest = ((split[:, None] - palette[None].astype(np.int64)) ** 2).sum(axis=2).argmin(axis=1).astype(np.uint8)
    indexed = Image.fromarray(nearest[where].reshape(frame.height, frame.width))
    indexed.putpalette(palette.tobytes())
    return indexed
