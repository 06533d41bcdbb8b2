"""Motion without the camera's: what is left of optical flow once a homography has explained the background."""

from typing import Any, Literal, get_args

import cv2
import numpy as np

from davis_exp.data.flow import DisFlow
from davis_exp.data.sequences import VideoSequence
from davis_exp.utils.errors import BadInput

Clip = Literal["median", "percentile"]
Fit = Literal["frame", "border"]

FORMAT = 1  # of what `residual` gives; another number makes what was kept of it unknown
POINTS = 48  # of the grid that the camera's motion is fitted to, along the longer side
NEAR = 0.004  # of the longer side: how far a point may lie from where the camera's motion takes it
ENOUGH = 0.3  # of the points, to believe a fit
BORDER = 0.25  # of each side: so deep is the border of the frame
BRIGHT = 8.0  # times the median residual is as fast as a picture shows
FASTEST = 99.0  # percent of the residuals are slower than a picture shows
LEAST = 0.005  # of the longer side: slower than this is not stretched to full colour; it is mostly noise


class StabilisedFlow(DisFlow):
    """DIS flow minus the camera's motion, and clipped by a robust measure of the frame.

    The camera's motion is a homography between the two frames, fitted by RANSAC (Fischler and Bolles, CACM 1981;
    Hartley and Zisserman, Multiple View Geometry, 2004, chapter 4) to the flow on a grid of points. It is exact for a
    camera that turns or zooms, and for scenes that are flat or far away; in others parallax remains. Where too few
    points agree the median of the flow takes its place.

    An object that fills much of the frame would be fitted instead of the background. The points near the frame's border
    show it less often.

    Pictures of motion are stretched by their fastest pixel: residuals are clipped, so that one wild vector does not make
    everything else pale.

    Args:
        clip: at 8 times their `median`, which shows whatever moves at all, parallax too, in nearly full colour; or at
            their 99th `percentile`, which keeps the order of speeds. A config that does not say means the median.
        fit: to the points of the whole `frame`, of which three in ten must agree, else the median is taken off; or to
            those within a quarter of the frame from its `border`, however few agree. A config that does not say means
            the frame.
        settings: those of `DisFlow`, with which it shares its cache.

    Raises:
        BadInput: as `DisFlow`; an unknown clip or fit.
    """

    def __init__(self, clip: Clip = "median", fit: Fit = "frame", **settings: Any) -> None:
        for key, value, known in (("clip", clip, get_args(Clip)), ("fit", fit, get_args(Fit))):
            if value not in known:
                raise BadInput(f"flow.{key} must be {' or '.join(known)}, got {value!r}")
        super().__init__(**settings)
        self.clip: Clip = clip
        self.fit: Fit = fit

    def vectors(self, sequence: VideoSequence, i: int, gap: int | None = None) -> np.ndarray | None:
        flow = super().vectors(sequence, i, gap)
        return None if flow is None else clipped(residual(flow, self.fit), self.clip)

    def identity(self, sequence: VideoSequence, i: int) -> object:
        same = super().identity(sequence, i)
        return None if same is None else ("stabilised", FORMAT, self.clip, self.fit, same)


def residual(flow: np.ndarray, fit: Fit = "frame") -> np.ndarray:
    """Flow (2, h, w), x before y, in pixels of its own grid, minus the camera's motion; the same shape, float32."""
    moved = _fitted(flow, BORDER, 0) if fit == "border" else None
    if moved is None:
        moved = _fitted(flow, 1, ENOUGH)
    if moved is None:
        moved = np.median(flow, axis=(1, 2), keepdims=True)
    return (flow - moved).astype(np.float32)


def clipped(vectors: np.ndarray, clip: Clip = "median") -> np.ndarray:
    """Vectors (2, h, w) none of which is longer than their lengths' measure `clip`, or a little motion."""
    speed = np.hypot(*vectors)
    usual = BRIGHT * np.median(speed) if clip == "median" else np.percentile(speed, FASTEST)
    most = max(float(usual), LEAST * max(speed.shape))
    return vectors * np.minimum(1, most / np.maximum(speed, 1e-6)).astype(np.float32)


def _fitted(flow: np.ndarray, border: float, enough: float) -> np.ndarray | None:
    """How the camera moves each pixel (2, h, w), by the points of the flow at most `border` of a side from the edge.

    None where less than the share `enough` of them agree, or where there is no such camera.
    """
    height, width = flow.shape[1:]
    longer = max(height, width)
    step = max(1, longer // POINTS)
    ys, xs = np.mgrid[step // 2 : height : step, step // 2 : width : step]
    from_edge = np.minimum(np.minimum(xs, width - 1 - xs) / width, np.minimum(ys, height - 1 - ys) / height)
    ys, xs = ys[from_edge <= border], xs[from_edge <= border]
    here = np.stack([xs, ys], -1).astype(np.float32)
    there = here + flow[:, ys, xs].T
    if len(here) < 8 or not np.isfinite(there).all():
        return None
    # OpenCV's RANSAC draws from a generator of its own, with the same seed each time.
    camera, agreeing = cv2.findHomography(here, there, cv2.RANSAC, max(0.5, NEAR * longer))
    return None if camera is None or agreeing.mean() < enough else _moved(camera, height, width)


def _moved(camera: np.ndarray, height: int, width: int) -> np.ndarray | None:
    """How far the homography (3, 3) moves each pixel, (2, height, width); None where it turns the frame inside out."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    a = camera.astype(np.float32)
    depth = a[2, 0] * x + a[2, 1] * y + a[2, 2]
    if not np.isfinite(a).all() or depth.min() < 0.1:
        return None
    to_x = (a[0, 0] * x + a[0, 1] * y + a[0, 2]) / depth
    to_y = (a[1, 0] * x + a[1, 1] * y + a[1, 2]) / depth
    return np.stack([to_x - x, to_y - y])
