"""Rendering of generated videos: an object, resting look-alikes, occluders, a scene and a moving camera.

The object differs from the scene by its *family* of texture (regular, two-coloured patterns against irregular
noise), so that without distractors a single frame suffices. Distractors are drawn from the object's own
families of texture, shape, size and position by the same code, but lie still in the scene: they move with the
camera only, and so only motion tells which is the object. Nothing is favoured by its place in the frame.

Every frame is a pure function of (settings, stage, sequence, frame); nothing is stored.
"""

import dataclasses
from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

BORDER = 0.35  # how near a blob's middle comes to the frame's border, in its radii


@dataclasses.dataclass(frozen=True)
class Settings:
    """What one generated sequence depends on beside its stage and number. Sizes in pixels."""

    length: int
    height: int
    width: int
    distractors: int
    seed: int


@dataclasses.dataclass(frozen=True)
class _Layer:
    """Something painted over the scene: a texture seen through a closed outline."""

    texture: np.ndarray  # (S, S, 3) uint8, its middle at the layer's origin
    outline: Callable[[int], np.ndarray]  # frame -> (N, 2) points around the layer's origin
    place: Callable[[int], np.ndarray]  # frame -> (3, 3) layer coordinates to frame coordinates
    is_object: bool = False


@dataclasses.dataclass(frozen=True)
class _Scene:
    background: np.ndarray  # (1.5 H, 1.5 W, 3) uint8
    camera: Callable[[int], np.ndarray]  # frame -> (3, 3) scene coordinates to frame coordinates
    layers: tuple[_Layer, ...]  # back to front


@lru_cache(maxsize=8)  # frame(i) and mask(i) are asked for one after the other
def render(settings: Settings, stage: int, number: int, i: int) -> tuple[np.ndarray, np.ndarray]:
    """Frame `i` and its mask: (H, W, 3) uint8, (H, W) uint8 in {0, 1}."""
    scene = _scene(settings, stage, number)
    frame = _warp(scene.background, scene.camera(i), settings)
    mask = np.zeros((settings.height, settings.width), np.uint8)
    for layer in scene.layers:
        place = layer.place(i)
        points = layer.outline(i) @ place[:2, :2].T + place[:2, 2]
        cover = np.zeros_like(mask)
        cv2.fillPoly(cover, [np.round(points * 16).astype(np.int32)], 1, shift=4)
        cv2.copyTo(_warp(layer.texture, place, settings), cover, frame)
        if layer.is_object:
            mask = cover
        else:
            mask[cover > 0] = 0
    frame = cv2.GaussianBlur(frame, (3, 3), 0.7)  # one lens for all: no outline is sharper than another
    rng = np.random.default_rng([settings.seed, stage, number, i])
    noise = rng.integers(-5, 6, frame.shape, dtype=np.int8)
    return cv2.add(frame, noise, dtype=cv2.CV_8U), mask


def _warp(texture: np.ndarray, place: np.ndarray, settings: Settings) -> np.ndarray:
    """The texture as the frame sees it, continued by reflection: (H, W, 3)."""
    middle = _shift(-texture.shape[1] / 2, -texture.shape[0] / 2)
    size = (settings.width, settings.height)
    return cv2.warpAffine(texture, (place @ middle)[:2], size, borderMode=cv2.BORDER_REFLECT)


@lru_cache(maxsize=64)
def _scene(settings: Settings, stage: int, number: int) -> _Scene:
    rng = np.random.default_rng([settings.seed, stage, number])
    size = np.array([settings.width, settings.height], np.float64)
    camera = _camera(rng, size)
    blobs = [_object(rng, size)]
    places: list[np.ndarray] = []
    for _ in range(settings.distractors):
        blobs.append(_distractor(rng, size, camera, settings.length, places))
    order = rng.permutation(len(blobs))  # the object may pass before or behind a distractor
    posts = [_post(rng, size, camera) for _ in range(rng.integers(1, 3))]
    background = _noise_texture(rng, settings.height * 3 // 2, settings.width * 3 // 2)
    return _Scene(background, camera, (*(blobs[k] for k in order), *posts))


def _camera(rng: np.random.Generator, size: np.ndarray) -> Callable[[int], np.ndarray]:
    """A smooth pan with a little roll and zoom; scene coordinates have their origin in the frame's middle."""
    swing = rng.uniform(0.05, 0.15, 2) * size
    phase = rng.uniform(0, 2 * np.pi, 4)
    rate = 2 * np.pi / rng.uniform(30, 60, 4)

    def camera(i: int) -> np.ndarray:
        wave = np.sin(phase + rate * i)
        return _shift(*(size / 2 + swing * wave[:2])) @ _turn(0.05 * wave[2], 1 + 0.05 * wave[3])

    return camera


def _object(rng: np.random.Generator, size: np.ndarray) -> _Layer:
    """The foreground: turns, deforms and crosses the frame at a steady pace, turning back at its border."""
    radius = _radius(rng, size)
    room = size - 2 * BORDER * radius
    start = rng.uniform(0, 2, 2)
    heading = rng.uniform(0, 2 * np.pi)
    pace = rng.uniform(0.02, 0.04) * size.max() * np.array([np.cos(heading), np.sin(heading)]) / room
    angle, spin = rng.uniform(0, 2 * np.pi), rng.uniform(-0.05, 0.05)

    def place(i: int) -> np.ndarray:
        # A triangle wave spends the same time everywhere: no place in the frame is favoured.
        across = np.abs((start + pace * i) % 2 - 1)
        return _shift(*(BORDER * radius + across * room)) @ _turn(angle + spin * i)

    texture = _pattern_texture(rng, size)
    return _Layer(texture, _outline(rng, radius, deforming=True), place, is_object=True)


def _distractor(
    rng: np.random.Generator,
    size: np.ndarray,
    camera: Callable[[int], np.ndarray],
    length: int,
    taken: list[np.ndarray],
) -> _Layer:
    """As the object, but rigid and resting in the scene; apart from the others, which are at `taken`."""
    radius = _radius(rng, size)
    # Where the object could be, seen at a moment of the sequence: the two are placed alike.
    seen = BORDER * radius + rng.uniform(0, 1, (8, 2)) * (size - 2 * BORDER * radius)
    home = np.linalg.inv(camera(int(rng.integers(length))))
    candidates = seen @ home[:2, :2].T + home[:2, 2]
    gaps = [min((float(np.linalg.norm(c - t)) for t in taken), default=0.0) for c in candidates]
    spot = candidates[int(np.argmax(gaps))]
    taken.append(spot)
    rest = _shift(*spot) @ _turn(rng.uniform(0, 2 * np.pi))
    outline = _outline(rng, radius, deforming=False)
    return _Layer(_pattern_texture(rng, size), outline, lambda i: camera(i) @ rest)


def _post(rng: np.random.Generator, size: np.ndarray, camera: Callable[[int], np.ndarray]) -> _Layer:
    """An occluder: a long bar of the scene's own kind of texture, resting in the scene before everything."""
    half = np.array([rng.uniform(0.015, 0.035) * size.max(), 2 * size.max()])
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    rest = _shift(*(rng.uniform(-0.5, 0.5, 2) * size)) @ _turn(rng.uniform(0, np.pi))
    side = int(size.max() / 2)
    return _Layer(_noise_texture(rng, side, side), lambda i: corners, lambda i: camera(i) @ rest)


def _radius(rng: np.random.Generator, size: np.ndarray) -> float:
    """Mean radius of a blob that covers 8–17 % of the frame."""
    return float(np.sqrt(rng.uniform(0.08, 0.17) * size.prod() / np.pi))


def _outline(rng: np.random.Generator, radius: float, *, deforming: bool) -> Callable[[int], np.ndarray]:
    """A star-shaped outline of four harmonics, whose phases run on where it is deforming."""
    harmonic = np.arange(2, 6)[:, None]
    depth = rng.uniform(0.05, 0.35, (4, 1)) / harmonic**0.5
    phase = rng.uniform(0, 2 * np.pi, (4, 1))
    rate = rng.uniform(0.05, 0.2, (4, 1)) * rng.choice([-1, 1], (4, 1)) * deforming
    around = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    circle = np.stack([np.cos(around), np.sin(around)], axis=1)

    def outline(i: int) -> np.ndarray:
        reach = radius * (1 + (depth * np.cos(harmonic * around + phase + rate * i)).sum(axis=0))
        return np.maximum(reach, 0.3 * radius)[:, None] * circle

    return outline


def _noise_texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """The scene's family: three colours mixed by noise of several scales, (height, width, 3) uint8."""
    mix = np.zeros((height, width, 3), np.float32)
    for cells, strength in ((3, 1.0), (8, 0.7), (24, 0.5), (72, 0.35)):
        grid = rng.standard_normal((cells, max(1, round(cells * width / height)), 3)).astype(np.float32)
        mix += strength * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    weight = np.exp(mix)
    weight /= weight.sum(axis=2, keepdims=True)
    colours = rng.uniform(20, 235, (3, 3)).astype(np.float32)
    return np.rint(weight @ colours).astype(np.uint8)


def _pattern_texture(rng: np.random.Generator, size: np.ndarray) -> np.ndarray:
    """The object's family: stripes, checks or dots of two far-apart colours, shaded: (S, S, 3) uint8."""
    side = int(size.min() * 1.5)
    period = rng.uniform(0.07, 0.12) * size.min()
    y, x = np.mgrid[:side, :side].astype(np.float32) * (2 * np.pi / period)
    waves = np.stack([np.sin(x), np.sin(x) * np.sin(y), np.sin(x) + np.sin(y) - 0.5])
    share = 0.5 + 0.5 * np.tanh(3 * waves[rng.integers(3)])[..., None]
    first, second = rng.uniform(0, 255, 3), rng.uniform(0, 255, 3)
    while np.abs(first - second).sum() < 200:
        second = rng.uniform(0, 255, 3)
    shade = cv2.resize(rng.uniform(0.7, 1.1, (4, 4)), (side, side), interpolation=cv2.INTER_LINEAR)
    return np.clip((share * first + (1 - share) * second) * shade[..., None], 0, 255).astype(np.uint8)


def _shift(x: float, y: float) -> np.ndarray:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def _turn(angle: float, scale: float = 1.0) -> np.ndarray:
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
