"""Videos of episodes: both cameras, instruction and a timeline of costs, policies side by side."""

from __future__ import annotations

import base64
import functools
import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw, ImageFont

from safevla.assure.evaluate import numbers, paired
from safevla.assure.figures import CONSTRAINT_COLOURS, policy_colours
from safevla.rollout import Actor, VectorEnvironment, play
from safevla.types import ACTIONS, Episode, Event, Scenario, Step

CAMERAS = ("nav", "manip")
FRAMES_PER_SECOND = 8
_OVERSAMPLING = 2  # drawn larger and shrunk: smooth edges
_FLASH = 4  # frames for which an event stays marked
_HOLD = 12  # frames for which the end stays on screen

_PAGE, _INK, _SOFT, _LANE = (18, 22, 26), (232, 236, 239), (150, 160, 170), (36, 43, 50)
_GOOD, _BAD = (76, 196, 178), (240, 110, 90)
_GAP, _MARGIN = 8, 20
_CONTROLS = 40  # pixels left free at the bottom, where players lay their controls over the picture


@dataclass(frozen=True)
class Frame:
    """What is shown of one step.

    Attributes:
        pictures: (2, S, S, 3) uint8, navigation and manipulation camera after the action.
        action: name of the action.
        holding: whether an object is held.
        costs: (K,) costs of the step.
        events: what was charged.
    """

    pictures: np.ndarray
    action: str
    holding: bool
    costs: np.ndarray
    events: list[Event]


@dataclass
class Film:
    """One recorded episode."""

    scenario: Scenario
    constraints: tuple[str, ...]
    frames: list[Frame] = field(default_factory=list)
    success: bool = False

    @property
    def cost(self) -> float:
        """Cumulative cost of the episode."""
        return float(sum(frame.costs.sum() for frame in self.frames))


class Recorder:
    """An observer for `rollout.play` that keeps a film of each episode.

    Homes that have a MuJoCo model are drawn again at `size`, with soft shadows and smooth edges; of others
    the observation is enlarged.

    Args:
        scenarios: what is being played, in the same order.
        size: height and width S of a picture, pixels.
    """

    def __init__(self, scenarios: Sequence[Scenario], size: int = 224) -> None:
        self.size = size
        self.scenarios = list(scenarios)
        self.films: dict[int, Film] = {}
        self._raster: Any = None
        self._meshes: dict[int, tuple[int, Any]] = {}  # home -> (episode, its geometry)

    def __call__(self, env: Any, step: Step, active: np.ndarray, playing: np.ndarray) -> None:
        """Take one frame of every home that acted."""
        for home in np.flatnonzero(active):
            index = int(playing[home])
            film = self.films.setdefault(index, Film(self.scenarios[index], tuple(env.constraints)))
            action = int(step.observation.last_action[home])
            film.frames.append(
                Frame(
                    pictures=self._pictures(env, step, int(home), index),
                    action=ACTIONS[action].replace("_", " ") if action < len(ACTIONS) else "",
                    holding=bool(step.observation.holding[home]),
                    costs=np.array(step.costs[home]),
                    events=list(step.events[home]),
                )
            )
            film.success = bool(step.success[home])

    def _pictures(self, env: Any, step: Step, home: int, index: int) -> np.ndarray:
        if hasattr(env.homes[home], "model"):
            drawn = self._draw(env.homes[home], home, index)
        else:
            drawn = [step.observation.nav[home], step.observation.manip[home]]
        shape = (self.size, self.size)
        return np.stack([np.asarray(Image.fromarray(p).resize(shape, Image.Resampling.BOX)) for p in drawn])

    def _draw(self, home: Any, number: int, index: int) -> list[np.ndarray]:
        """Render both cameras of a simulated home."""
        from safevla.world.raster_fine import FineRaster

        if self._raster is None:
            self._raster = FineRaster(self.size, self.size, supersampling=_OVERSAMPLING)
        if number not in self._meshes or self._meshes[number][0] != index:
            self._meshes[number] = (index, self._raster.prepare(home.model))
        pictures = []
        for camera in CAMERAS:
            picture = np.zeros((self.size, self.size, 3), np.uint8)
            camera_id = home.model.camera(camera).id
            self._raster.render(self._meshes[number][1], home.data, camera_id, rgb=picture)
            pictures.append(picture)
        return pictures


def record(
    env: VectorEnvironment,
    policy: Actor,
    scenarios: Sequence[Scenario],
    *,
    seed: int = 0,
    greedy: bool = False,
    size: int = 224,
) -> tuple[list[Episode], list[Film]]:
    """Play scenarios and return episodes and films; given the seed of `evaluate` they are its episodes."""
    recorder = Recorder(scenarios, size)
    episodes = play(env, policy, scenarios, greedy=greedy, seed=seed, observer=recorder)
    return episodes, [recorder.films[index] for index in range(len(scenarios))]


def choose_scenarios(table: pa.Table, first: str, second: str, count: int) -> list[tuple[str, str]]:
    """Choose scenarios worth seeing by a rule that is told with them.

    Returns:
        (scenario hash, why it was chosen): the one in which `first` saves most cost, then those whose
        difference is nearest to the median of all.
    """
    one, two = paired(table, first, second)
    saved = numbers(two, "cost") - numbers(one, "cost")
    names = one["scenario"].to_pylist()
    largest = max(range(len(names)), key=lambda index: (saved[index], names[index]))
    median = float(np.median(saved))
    rest = [index for index in range(len(names)) if index != largest]
    # among equally typical ones those in which something happens are worth more to look at
    rest.sort(key=lambda i: (abs(saved[i] - median), -numbers(two, "cost")[i], names[i]))
    chosen = [(names[largest], f"the scenario in which {first} saves most cost against {second}")]
    chosen += [(names[index], "a typical one: the difference in cost is near the median") for index in rest]
    return chosen[:count]


@dataclass(frozen=True)
class Video:
    """An encoded video with its caption, ready for the report."""

    data: bytes
    mime: str  # "video/mp4", or "image/webp" where there is no encoder
    caption: str = ""

    @property
    def suffix(self) -> str:
        """File name extension."""
        return ".mp4" if self.mime == "video/mp4" else ".webp"

    def save(self, path: str | Path) -> Path:
        """Write the video beside `path`, with the extension of its format."""
        target = Path(path).with_suffix(self.suffix)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(self.data)
        return target

    def html(self) -> str:
        """Return a figure with the video embedded."""
        source = f"data:{self.mime};base64,{base64.b64encode(self.data).decode()}"
        if self.mime == "video/mp4":
            shown = f'<video controls autoplay muted loop playsinline src="{source}"></video>'
        else:
            shown = f'<img alt="{escape(self.caption)}" src="{source}">'
        return f"<figure>{shown}<figcaption>{escape(self.caption)}</figcaption></figure>"


def side_by_side(films: Mapping[str, Film], why: str = "") -> Video:
    """Encode films of the same scenario beside each other, one column for each policy.

    Args:
        films: policy -> its film.
        why: how the scenario was chosen, for the caption.

    Raises:
        ValueError: the films show different scenarios, or there is none.
    """
    if len({film.scenario.hash for film in films.values()}) != 1:
        raise ValueError("films beside each other must show one and the same scenario")
    frames = list(compose(films))
    data, mime = encode(frames)
    first = next(iter(films.values()))
    ends = "; ".join(
        f"{name}: {'succeeded' if film.success else 'failed'}, cost {film.cost:g}, {len(film.frames)} steps"
        for name, film in films.items()
    )
    caption = f"“{first.scenario.instruction}” {ends}. "
    caption += f"Scenario {first.scenario.hash}" + (f", {why}." if why else ".")
    return Video(data, mime, caption)


# --- drawing ---------------------------------------------------------------------------------------------


@functools.cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which comes with matplotlib and so is on every machine."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


def compose(films: Mapping[str, Film]) -> Iterator[np.ndarray]:
    """Yield the frames (H, W, 3) uint8 of films beside each other, until the longest has ended."""
    longest = max(len(film.frames) for film in films.values())
    size = next(iter(films.values())).frames[0].pictures.shape[1]
    lanes = len(next(iter(films.values())).constraints)
    column = 2 * size + _GAP
    width = 2 * _MARGIN + len(films) * column + (len(films) - 1) * 2 * _MARGIN
    height = 2 * _MARGIN + 66 + size + 34 + 17 * lanes + 32 + _CONTROLS
    colours = policy_colours(list(films))
    base = Image.new("RGB", (width + width % 2, height + height % 2), _PAGE)
    sentence = next(iter(films.values())).scenario.instruction
    title = ImageDraw.Draw(base)
    title.text((_MARGIN, _MARGIN - 4), f"“{sentence}”", _INK, _font(_fit(sentence, width), bold=True))
    for step in range(longest + _HOLD):
        picture = base.copy()
        for number, (name, film) in enumerate(films.items()):
            corner = (_MARGIN + number * (column + 2 * _MARGIN), _MARGIN + 34)
            _draw_column(picture, corner, film, name, colours[name], step, longest, size)
        yield np.asarray(picture)


def _fit(sentence: str, width: int) -> int:
    """Return the largest font size, at most 20, at which the sentence fits."""
    for size in range(20, 8, -1):
        if _font(size, bold=True).getlength(f"“{sentence}”") <= width - 2 * _MARGIN:
            return size
    return 8


def _draw_column(
    picture: Image.Image,
    corner: tuple[int, int],
    film: Film,
    name: str,
    colour: str,
    step: int,
    longest: int,
    size: int,
) -> None:
    """Draw one film at one step, top left at `corner`."""
    draw = ImageDraw.Draw(picture)
    x, y = corner
    right = x + 2 * size + _GAP
    now = min(step, len(film.frames) - 1)
    frame, ended = film.frames[now], step >= len(film.frames) - 1
    cost = sum(float(item.costs.sum()) for item in film.frames[: now + 1])
    draw.ellipse((x, y + 5, x + 11, y + 16), colour)
    draw.text((x + 19, y), name, _INK, _font(17, bold=True))
    draw.text((right, y), f"cost {cost:g}", _BAD if cost else _GOOD, _font(17, bold=True), anchor="ra")

    top = y + 32
    flashing = any(item.costs.any() for item in film.frames[max(0, now - _FLASH + 1) : now + 1])
    for number, label in enumerate(CAMERAS):
        left = x + number * (size + _GAP)
        picture.paste(Image.fromarray(frame.pictures[number]), (left, top))
        draw.text(
            (left + 6, top + size - 17), label, (255, 255, 255), _font(11), stroke_width=2, stroke_fill=_PAGE
        )
        if flashing and not (ended and step >= len(film.frames) + _FLASH):
            draw.rectangle((left - 3, top - 3, left + size + 2, top + size + 2), outline=_BAD, width=4)

    below = top + size + 10
    words = f"step {now + 1}   {frame.action}" + ("   holding" if frame.holding else "")
    draw.text((x, below), words, _SOFT, _font(13))
    if ended:
        verdict, shade = ("succeeded", _GOOD) if film.success else ("failed", _BAD)
        draw.text((right, below), verdict, shade, _font(13, bold=True), anchor="ra")
    _draw_timeline(draw, (x, below + 24), right, film, now, longest)


def _draw_timeline(
    draw: ImageDraw.ImageDraw, corner: tuple[int, int], right: int, film: Film, now: int, longest: int
) -> None:
    """Draw a lane for each constraint with a mark at each step that was charged, and the latest event."""
    x, y = corner
    start = x + 132
    scale = (right - start) / max(longest, 1)
    for lane, constraint in enumerate(film.constraints):
        colour = CONSTRAINT_COLOURS[lane % len(CONSTRAINT_COLOURS)]
        top = y + 17 * lane
        draw.text((x, top), constraint.replace("_", " "), _SOFT, _font(11))
        draw.rectangle((start, top + 2, right, top + 12), _LANE)
        for index in range(now + 1):
            if film.frames[index].costs[lane]:
                left = start + index * scale
                draw.rectangle((left, top + 2, max(left + scale - 1, left + 2), top + 12), colour)
    cursor = start + (now + 0.5) * scale
    draw.line((cursor, y, cursor, y + 17 * len(film.constraints) - 3), _INK, 1)
    recent = [event for item in film.frames[max(0, now - 2 * _FLASH) : now + 1] for event in item.events]
    if recent:
        event = recent[-1]
        bodies = ", ".join(body.replace("_", " ") for body in event.bodies[:2])
        text = f"{event.predicate.replace('_', ' ')}: {event.severity:.3g} {event.unit}, {bodies}"
        draw.text((x, y + 17 * len(film.constraints) + 5), text, _BAD, _font(12))


# --- encoding --------------------------------------------------------------------------------------------


def encode(frames: Sequence[np.ndarray]) -> tuple[bytes, str]:
    """Encode frames (H, W, 3) uint8 with even H and W; return the bytes and their MIME type.

    H.264 through imageio-ffmpeg, which brings its own ffmpeg; animated WebP where that does not run.
    """
    rate = max(FRAMES_PER_SECOND, -(-len(frames) // 25))  # nobody watches longer than 25 seconds
    try:
        return _encode_mp4(frames, rate), "video/mp4"
    except (ImportError, RuntimeError, OSError):
        return _encode_webp(frames, rate), "image/webp"


def _encode_mp4(frames: Sequence[np.ndarray], rate: int) -> bytes:
    import imageio_ffmpeg  # type: ignore[import-untyped]

    height, width = frames[0].shape[:2]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        writer = imageio_ffmpeg.write_frames(
            str(path),
            (width, height),
            fps=rate,
            codec="libx264",
            quality=None,
            macro_block_size=2,
            ffmpeg_log_level="error",
            output_params=["-crf", "27", "-preset", "slow", "-threads", "1", "-movflags", "+faststart"],
        )
        writer.send(None)
        for frame in frames:
            writer.send(np.ascontiguousarray(frame))
        writer.close()
        return path.read_bytes()


def _encode_webp(frames: Sequence[np.ndarray], rate: int) -> bytes:
    buffer = io.BytesIO()
    first, *others = (Image.fromarray(frame) for frame in frames)
    first.save(
        buffer, "WEBP", save_all=True, append_images=others, duration=round(1000 / rate), loop=0, quality=60
    )
    return buffer.getvalue()
