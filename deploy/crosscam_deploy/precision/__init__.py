"""Graphs in fewer bits: pure functions from an ONNX graph to another one, and what chooses them.

`half` and `lowering` write 16 bits, `quantiser` Q/DQ pairs of 8 (`eight_bits`) with `ranges` that
follow from what was seen of the values (`observe`) on real pictures (`calibration`), and `smooth`
moves outliers to weights. `search` finds settings that keep the answers (`judge`, `loss`), and
leaves those nodes in float that break them (`beyond`, `sensitivity`). `emulation` tells without a
GPU what one would answer.
"""

from __future__ import annotations
