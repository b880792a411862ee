"""Evaluation against torchreid's on the same features: equal figures, and the time of each.

Run where both are installed, or with the folder of torchreid's packages:

    python benchmarks/eval_parity.py --packages VENV/lib/python3.11/site-packages
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np

from crosscam_kernels.retrieval import retrieval_metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packages", type=Path, help="site-packages that have torchreid")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--gallery", type=int, default=6000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--people", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    if args.packages is not None:
        sys.path.append(str(args.packages))  # behind our own, which stay what they are
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchreid.reid.metrics import compute_distance_matrix, evaluate_rank

    import torch

    torch.set_num_threads(args.threads)
    rows = []
    for seed in range(args.seeds):
        rng = np.random.default_rng(seed)
        centres = rng.normal(size=(args.people, args.dim))
        rooms = rng.normal(size=(6, args.dim))
        sides = []
        for number in (args.queries, args.gallery):
            person, camera = rng.integers(0, args.people, number), rng.integers(0, 6, number)
            x = centres[person] + rooms[camera] + 1.5 * rng.normal(size=(number, args.dim))
            x /= np.linalg.norm(x, axis=1, keepdims=True)
            sides.append((x.astype(np.float32), person, camera))
        (q, qp, qc), (g, gp, gc) = sides
        began = time.perf_counter()
        distances = compute_distance_matrix(torch.from_numpy(q), torch.from_numpy(g), "cosine")
        cmc, mean_ap = evaluate_rank(
            distances.numpy(), qp, gp, qc, gc, max_rank=20, use_cython=False
        )
        theirs_s = time.perf_counter() - began
        began = time.perf_counter()
        ours = retrieval_metrics(q, g, qp, gp, qc, gc, max_rank=20, threads=args.threads)
        ours_s = time.perf_counter() - began
        rows.append(
            {
                "seed": seed,
                "mAP": ours.mean_ap,
                "mAP_difference": abs(ours.mean_ap - float(mean_ap)),
                "cmc_difference": float(np.abs(ours.cmc - np.asarray(cmc)).max()),
                "torchreid_s": round(theirs_s, 3),
                "crosscam_s": round(ours_s, 3),
            }
        )
    setting = {k: v for k, v in vars(args).items() if k != "packages"}
    print(json.dumps({"setting": setting, "runs": rows}, indent=1))


if __name__ == "__main__":
    main()
