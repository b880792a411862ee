"""First weights for `train_methods.py`: a small CLIP, trained on captions of other people.

The papers begin with CLIP, whose texts mean something and whose pictures are told apart; from
random weights learned prompts have nothing to hold on to. People and cameras of these captions are
none of those that methods are compared on.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import open_clip
import torch
from torch import nn
from torch.nn import functional

from crosscam_trainer.data import load
from crosscam_trainer.data.dataset import PictureSet
from crosscam_trainer.data.transforms import Augmentation, for_training
from crosscam_trainer.models.build import bare_model
from crosscam_trainer.models.checkpoint import save_model
from crosscam_trainer.recipe import ModelRecipe

BATCH, RATE = 128, 2e-3
_FILLING = {"A", "person", "a", "an", "with", "wearing", "and", "of", "the"}
_TOKENIZER = open_clip.SimpleTokenizer()


def shortened(caption: str, tokens: int) -> str:
    """A caption without the words that say nothing, and without its end if it is still too long."""
    words = [w for w in caption.replace(",", "").replace(".", "").split() if w not in _FILLING]
    while len(_TOKENIZER.encode(" ".join(words))) + 2 > tokens:
        words.pop()
    return " ".join(words)


def pretrain(root: Path, recipe: ModelRecipe, file: Path, epochs: int) -> None:
    """Train image and text tower on the pictures of a generated set, and write them.

    The loss is CLIP's (Radford et al., ICML 2021); pictures with one caption are all right answers.
    """
    torch.manual_seed(0)
    model, text, preparation = bare_model(recipe)
    text.requires_grad_(requires_grad=True)
    scale = nn.Parameter(torch.tensor(math.log(10.0)))
    data = load(root, "simulated")
    samples = (*data.train, *data.query, *data.gallery)
    captions = [shortened(sample.caption or "", text.context) for sample in samples]
    known = sorted(set(captions))
    tokens = text.tokens(known)
    caption_of = np.array([known.index(caption) for caption in captions])
    pictures = PictureSet(samples, for_training(Augmentation(pad=0, erase=0), preparation))
    learned = [*model.parameters(), *text.parameters(), scale]
    optimiser = torch.optim.AdamW(learned, RATE, weight_decay=0.01)
    steps = len(samples) // BATCH
    plan = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, epochs * steps, pct_start=0.1)
    rng = np.random.default_rng(0)
    model.train()
    for epoch in range(epochs):
        order, total = rng.permutation(len(samples)), 0.0
        for step in range(steps):
            chosen = order[step * BATCH : (step + 1) * BATCH]
            images = torch.stack([pictures[int(k)]["image"] for k in chosen])
            labels = torch.from_numpy(caption_of[chosen])
            worn = tokens[labels]
            seen = functional.normalize(model(images).joint, dim=1)
            read = functional.normalize(text(text.embed(worn), worn), dim=1)
            logits = scale.exp().clamp(max=100) * seen @ read.T
            right = (labels[:, None] == labels).float()
            right = right / right.sum(1, keepdim=True)
            loss = sum(functional.cross_entropy(x, right) for x in (logits, logits.T)) / 2
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            plan.step()
            total += float(loss.detach())
        print(f"captions, epoch {epoch + 1}/{epochs}: {total / steps:.3f}", flush=True)
    save_model(file, model, text, recipe.tower)
