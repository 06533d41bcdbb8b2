"""Masks drawn on frames, for people. Arrays in, arrays out."""

import cv2
import numpy as np

TINT = (255, 64, 64)  # RGB


def overlay(frame: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int] = TINT) -> np.ndarray:
    """A frame (H, W, 3) uint8 with the mask (H, W) bool tinted and outlined."""
    drawn = frame.copy()
    drawn[mask] = (0.6 * frame[mask] + 0.4 * np.array(colour)).astype(np.uint8)
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, outlines, -1, (255, 255, 255), max(1, round(max(mask.shape) / 400)))
    return drawn


def cut_out(frame: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """A frame (H, W, 3) uint8 and confidence (H, W) uint8 → RGBA, the background transparent."""
    return np.dstack([frame, confidence])
