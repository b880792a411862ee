"""Scores of tracks against ground truth: CLEAR, HOTA, identity, and pairs across cameras."""

from __future__ import annotations

from crosscam_edge.evaluate.conventions import EvalOptions
from crosscam_edge.evaluate.mot import TrackScores, evaluate_mot
from crosscam_edge.evaluate.mtmc import MtmcScores, evaluate_mtmc

__all__ = ["EvalOptions", "MtmcScores", "TrackScores", "evaluate_mot", "evaluate_mtmc"]
