"""Graphs in fewer bits: pure functions from an ONNX graph to another one, and what chooses them.

`half` writes float16, `int8` Q/DQ pairs with ranges (`ranges`) that follow from what was seen of
the values (`observe`) on real pictures (`calibration`). `search` finds settings that keep the
answers (`loss`), and leaves those nodes in float that break them (`sensitivity`).
"""

from __future__ import annotations
