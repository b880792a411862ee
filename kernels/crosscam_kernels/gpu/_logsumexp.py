"""The running log-sum-exp of the losses: the largest logit, and the sum of exponentials less it.

Both are kept while logits come tile by tile and parts are merged, so that no logit stays in memory
(Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018). None yet: -inf and 0.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def add_exponentials(largest, total, logits, allowed):
    """One more tile in the running log-sum-exp of each sample: new maximum and sum."""
    largest_now = tl.maximum(largest, tl.max(tl.where(allowed, logits, float("-inf")), axis=1))
    base = tl.where(largest_now == float("-inf"), 0.0, largest_now)
    terms = tl.where(allowed, tl.exp(logits - base[:, None]), 0.0)
    return largest_now, total * tl.exp(largest - base) + tl.sum(terms, axis=1)


@triton.jit
def merge_exponentials(largest, total, other_largest, other_total):
    """Two running log-sum-exps as one."""
    both = tl.maximum(largest, other_largest)
    base = tl.where(both == float("-inf"), 0.0, both)
    left = tl.where(total == 0.0, 0.0, total * tl.exp(largest - base))
    right = tl.where(other_total == 0.0, 0.0, other_total * tl.exp(other_largest - base))
    return both, left + right


@triton.jit
def log_sum_exp(largest, total):
    """Logarithm of the sum of all exponentials; -inf of none."""
    return largest + tl.log(tl.where(total == 0.0, 1.0, total))
