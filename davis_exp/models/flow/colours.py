"""Motion as a picture: flow vectors in the colours of the Middlebury benchmark.

Direction gives the hue and speed the saturation; what rests is white. After Baker et al., "A Database and
Evaluation Methodology for Optical Flow", IJCV 2011.
"""

import functools

import torch
from torch import Tensor

# How many steps lead from one corner of the colour circle to the next. Unequal, since the eye is: it tells
# more hues between red and yellow than between yellow and green.
WHEEL_STEPS = {
    (1, 0, 0): 15,  # red
    (1, 1, 0): 6,  # yellow
    (0, 1, 0): 4,  # green
    (0, 1, 1): 11,  # cyan
    (0, 0, 1): 13,  # blue
    (1, 0, 1): 6,  # magenta
}
MIN_SPEED = 0.002
"""Motion slower than this fraction of the longer side is not stretched to full colour: it is mostly noise."""


@functools.cache
def colour_wheel() -> Tensor:
    """The colours once around, (55, 3) in [0, 1]: from motion to the right, clockwise as seen on a screen."""
    corners = torch.tensor(list(WHEEL_STEPS), dtype=torch.float32)
    colours = [
        start + (end - start) * step / steps
        for start, end, steps in zip(corners, corners.roll(-1, 0), WHEEL_STEPS.values(), strict=True)
        for step in range(steps)
    ]
    return torch.stack(colours)


def flow_to_image(vectors: Tensor) -> Tensor:
    """Flow vectors (…, 2, H, W) in pixels, x before y → pictures (…, 3, H, W) in [0, 1].

    Each picture is stretched so that its fastest pixel has full colour (as is usual; but see MIN_SPEED), and so
    does not depend on the size at which the flow was computed.
    """
    u, v = vectors.float().unbind(-3)  # (…, H, W)
    speed = torch.hypot(u, v)
    fastest = speed.amax((-2, -1), keepdim=True).clamp(min=MIN_SPEED * max(vectors.shape[-2:]))
    colours = colour_wheel().to(vectors.device)
    # Adding 0 turns −0 into 0, which is half a turn away: a negated field keeps its colours.
    turn = (torch.atan2(-(v + 0.0), -u) / torch.pi + 1) / 2 * (len(colours) - 1)
    below = turn.long().clamp(max=len(colours) - 1)
    share = (turn - below)[..., None]
    hue = torch.lerp(colours[below], colours[(below + 1) % len(colours)], share)  # (…, H, W, 3)
    return (1 - (speed / fastest)[..., None] * (1 - hue)).movedim(-1, -3)
