"""Masks drawn on frames, for people. Arrays in, arrays out; colours are RGB."""

import cv2
import numpy as np

Colour = tuple[int, int, int]

TINT = (255, 64, 64)
# Told apart with any kind of colour vision (after Okabe and Ito's palette), and from most frames.
TRUTH, PREDICTION = (255, 255, 255), (255, 214, 10)
FALSE_POSITIVE, FALSE_NEGATIVE = (255, 84, 36), (64, 148, 255)


def overlay(frame: np.ndarray, mask: np.ndarray, colour: Colour = TINT) -> np.ndarray:
    """A frame (H, W, 3) uint8 with the mask (H, W) bool tinted and outlined."""
    drawn = frame.copy()
    _tint(drawn, mask, colour, 0.4)
    _outline(drawn, mask, (255, 255, 255))
    return drawn


def compared(frame: np.ndarray, mask: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """A frame (H, W, 3) uint8 with what the mask (H, W) bool has too much and too little, and both outlines."""
    drawn = frame.copy()
    _tint(drawn, mask & ~truth, FALSE_POSITIVE, 0.55)
    _tint(drawn, truth & ~mask, FALSE_NEGATIVE, 0.55)
    _outline(drawn, truth, TRUTH)
    _outline(drawn, mask, PREDICTION)
    return drawn


def cut_out(frame: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """A frame (H, W, 3) uint8 and confidence (H, W) uint8 → RGBA, the background transparent."""
    return np.dstack([frame, confidence])


def _tint(drawn: np.ndarray, mask: np.ndarray, colour: Colour, share: float) -> None:
    inside = np.ascontiguousarray(mask).view(np.uint8)
    x, y, width, height = cv2.boundingRect(inside)  # most of a frame is background
    if not width:
        return
    box = np.s_[y : y + height, x : x + width]
    blended = cv2.addWeighted(drawn[box], 1 - share, np.full_like(drawn[box], colour), share, 0)
    cv2.copyTo(blended, inside[box], drawn[box])


def _outline(drawn: np.ndarray, mask: np.ndarray, colour: Colour) -> None:
    outlines, _ = cv2.findContours(
        np.ascontiguousarray(mask).view(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
    )
    cv2.drawContours(drawn, outlines, -1, colour, max(1, round(max(mask.shape) / 400)))
