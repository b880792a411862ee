"""`Trainer`: carries out the stages of a method, and survives being killed.

All that is random follows from the seed and the place in the run: torch's generator is seeded anew
for every batch (dropout, stochastic depth), alike on all processes so that what they compute after
gathering stays alike. So a checkpoint needs no generator's state.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from crosscam_kernels.errors import RunError
from crosscam_trainer.loop.checkpoint import (
    Checkpoint,
    numbers,
    write_checkpoint,
    write_weights,
    writing,
)
from crosscam_trainer.loop.extract import evaluating
from crosscam_trainer.loop.optimise import LossScale, NotFiniteError
from crosscam_trainer.loop.progress import listed
from crosscam_trainer.loop.types import MAIN, Evaluate, Judged, Judgement, Position, Sums
from crosscam_trainer.methods.labels import train_labels
from crosscam_trainer.methods.whitening import Trial, try_whitening, whitening
from crosscam_trainer.models.architectures import uses_quick_gelu
from crosscam_trainer.models.checkpoint import save_model
from crosscam_trainer.models.text import ClipText

if TYPE_CHECKING:
    from pathlib import Path

    from crosscam_trainer.data.dataset import Batch
    from crosscam_trainer.loop.batches import Batches
    from crosscam_trainer.loop.journal import Journal
    from crosscam_trainer.loop.run import TrainingRun
    from crosscam_trainer.methods.base import Method, Stage

_SCALARS_EVERY = 20
"""Batches between points in TensorBoard's curves."""


class Trainer:
    """Trains one model with one seed.

    Args:
        run: What stages are given.
        method: Whose stages.
        folder: Of the seed: ``checkpoints``, ``best.safetensors``, ``last.safetensors``.
        journal: Records; None on all processes but the first.
        evaluate: Judges the model during the run; None leaves it unjudged.
        identity: JSON values that a checkpoint must have to be resumed, see `identity`.

    Attributes:
        trial: Of the newest whitening; None without `ModelRecipe.whiten`.
    """

    def __init__(
        self,
        run: TrainingRun,
        method: Method,
        folder: Path,
        journal: Journal | None,
        evaluate: Evaluate | None,
        identity: dict[str, Any],
    ) -> None:
        self.run, self.folder, self.journal = run, folder, journal
        self.evaluate, self.identity = evaluate, identity
        self.position = Position()
        self.judgement = Judgement()
        self.trial: Trial | None = None
        self._number = 0
        self._saved = time.monotonic()
        self._batches: Batches | None = None
        seed_torch(run.seed, "stages")
        self.stages = method.stages(run)

    # -- the run ------------------------------------------------------------------------------

    def fit(self) -> Judgement:
        """Train from the current position to the end.

        Raises:
            RunError: A loss became infinite or NaN, or the disk is full.
        """
        while self.position.stage < len(self.stages):
            self._stage(self.stages[self.position.stage])
        self._whiten()
        if self.run.world.first:
            self._write_weights("last", self.judgement.last)
        return self.judgement

    def _stage(self, stage: Stage) -> None:
        place, run = self.position, self.run
        if not place.stage_begun:
            self._say(f"stage {place.stage + 1} of {len(self.stages)}: {stage.name}")
            run.model.train()
            self._seed_begin()
            stage.begin(run)
            place.stage_begun = True
            self._prepare(stage)
            self._save()
        assert self._batches is not None
        while place.epoch < stage.epochs:
            self._epoch(stage, self._batches)
            judged = stage.needs_pictures and self._judge(stage)
            place.next_epoch()
            run.sums = Sums()
            if judged and self._out_of_patience():
                self._say(f"{stage.name} ends after {place.epoch} epochs: no better {MAIN}")
                break
            if place.epoch < stage.epochs:
                self._save()
        stage.end()
        place.next_stage()
        self.judgement.next_stage()
        self._batches = None
        self._save()

    def _seed_begin(self) -> None:
        """Seed what a stage draws before its first epoch."""
        seed_torch(self.run.seed, "begin", self.position.stage)

    def _prepare(self, stage: Stage) -> None:
        """Make what a stage needs that is not saved: optimisers, batches."""
        for _, module in stage.modules():
            module.to(self.run.device)
        self.run.optimise(stage)
        self._batches = self.run.batches(stage)

    def _epoch(self, stage: Stage, batches: Batches) -> None:
        place, run = self.position, self.run
        batches.read_ahead(place.epoch, place.batch)
        if not place.epoch_begun:
            seed_torch(run.seed, "epoch", place.stage, place.epoch)
            stage.begin_epoch(run, place.epoch)
            place.epoch_begun = True
        name = f"{stage.name} {place.epoch + 1}/{stage.epochs}"
        run.progress.begin(name, len(batches), place.batch)
        rates: dict[str, float] = {}
        started = time.monotonic()
        further = place.epoch + 1 < stage.epochs
        for batch in batches.epoch(place.epoch, place.batch, further=further):
            arrived = time.monotonic()
            progress = place.epoch + place.batch / len(batches)
            rates = {
                f"lr.{part}": optimiser.set_progress(progress)
                for part, optimiser in run.optimisers.items()
            }
            self._step(stage, batch)
            now = time.monotonic()
            run.sums.pictures += len(batch["index"])
            run.sums.waiting += arrived - started
            run.sums.seconds += now - started
            started = now
            self._after_batch(stage)
        self._report(stage, rates)

    def _step(self, stage: Stage, batch: Batch) -> None:
        place, run = self.position, self.run
        seed_torch(run.seed, "batch", place.stage, place.epoch, place.batch)
        try:
            with run.world.autocast():
                losses = stage.step(run, batch, place.epoch)
        except NotFiniteError as error:
            raise self._broken(stage, error) from error
        run.world.average_buffers(run.model.tower)
        names = list(losses)
        if names:
            values = torch.stack([losses[n].detach().float().reshape(()) for n in names]).tolist()
            run.sums.add(dict(zip(names, values, strict=True)))
            if self.journal is not None and place.iteration % _SCALARS_EVERY == 0:
                curve = dict(zip(names, values, strict=True))
                self.journal.scalars(f"{stage.name}.batch", place.iteration, curve)
        place.batch += 1
        place.iteration += 1

    def _after_batch(self, stage: Stage) -> None:
        run, sums = self.run, self.run.sums
        text = f"{listed(sums.means())}  {sums.rate:.0f} pictures/s  {sums.waited:.0%} waiting"
        run.progress.move(self.position.batch, text)
        if time.monotonic() - self._saved >= run.recipe.loop.checkpoint_minutes * 60:
            self._save()

    def _report(self, stage: Stage, rates: dict[str, float]) -> None:
        place, sums = self.position, self.run.sums
        figures = {**sums.means(), **sums.notes}
        self._say(
            f"{stage.name} {place.epoch + 1}/{stage.epochs}: {listed(figures)}  "
            f"{sums.rate:.0f} pictures/s  {sums.waited:.0%} waiting for data"
        )
        if self.journal is not None:
            self.journal.record(
                stage.name,
                place.iteration,
                epoch=place.epoch,
                figures=figures,
                rates=rates,
                speed={"pictures_per_s": sums.rate, "waiting": sums.waited},
            )

    def _broken(self, stage: Stage, error: NotFiniteError) -> RunError:
        place = self.position
        saved = sorted(numbers(self.folder / "checkpoints"))
        newest = self.folder / "checkpoints" / f"{saved[-1]:08d}" if saved else None
        return RunError(
            f"stage {stage.name!r}, epoch {place.epoch + 1}, batch {place.batch + 1}: "
            f"{error.found}",
            expected=error.expected,
            fix="a lower rate, a longer warm-up, clip_norm, or loop.precision=32, in another "
            f"--output; the last checkpoint from before is {newest}",
        )

    # -- evaluation ---------------------------------------------------------------------------

    def _judge(self, stage: Stage) -> bool:
        """Evaluate if it is time to; returns whether it was."""
        done = self.position.epoch + 1
        every = self.run.recipe.evaluation.every
        if self.evaluate is None or (done % every and done != stage.epochs):
            return False
        self._whiten()
        with evaluating(self.run.model):
            found = dict(self.evaluate(self.run.model))
        figures = self.run.world.share({name: float(value) for name, value in found.items()})
        if MAIN not in figures:
            raise RunError(f"an evaluation gave {sorted(figures)}", expected=f"{MAIN!r} among them")
        judged = Judged(stage.name, done, figures)
        best = self.judgement.add(judged)
        self._say(f"{stage.name} {done}/{stage.epochs}: {listed(figures)}{' (best)' * best}")
        if self.journal is not None:
            split = self.run.recipe.evaluation.split
            self.journal.record(
                f"evaluation.{split}", self.position.iteration, epoch=done - 1, figures=figures
            )
        if best and self.run.world.first:
            self._write_weights("best", judged)
        return True

    def _whiten(self) -> None:
        """Fit the whitening, where the recipe asks for it, to the features as they are now.

        The identity where labels left out do not gain by it. Nothing that is trained goes through
        it, so it is needed only where the model is judged or written.
        """
        run, ridge = self.run, self.run.recipe.model.whiten
        if ridge is None:
            return
        assert run.model.whitening is not None
        features, labels = run.extract().final_bn, train_labels(run.data, run.device)
        self.trial = try_whitening(features, labels.person, labels.camera, ridge)
        run.model.whitening.copy_(
            whitening(features, labels.person, ridge)
            if self.trial.helps
            else torch.eye(len(run.model.whitening))
        )
        self._say(f"whitening {self.trial}")

    def _out_of_patience(self) -> bool:
        patience = self.run.recipe.evaluation.patience
        return patience is not None and self.judgement.since_best >= patience

    def _write_weights(self, name: str, judged: Judged | None) -> None:
        about = {
            "which": name,
            "judged": None if judged is None else judged._asdict(),
            "selected_on": self.run.recipe.evaluation.split if name == "best" else None,
            "whitening": None if self.trial is None else str(self.trial),
            "seed": self.run.seed,
            "quick_gelu": uses_quick_gelu(self.run.model),
            "recipe": self.run.recipe.model_dump(mode="json"),
        }
        path = self.folder / f"{name}.safetensors"
        write_weights(path, self.run.model.state_dict(), about)
        if any(stage.trains_text for stage in self.stages):
            assert isinstance(self.run.text, ClipText)
            file = self.folder / f"{name}.clip.safetensors"
            part = file.with_suffix(".part")
            with writing(file):
                save_model(part, self.run.model, self.run.text, self.run.recipe.model.tower)
                part.replace(file)

    # -- checkpoints --------------------------------------------------------------------------

    def _save(self) -> None:
        self._saved = time.monotonic()
        if not self.run.world.first:
            return
        self._number += 1
        checkpoint = Checkpoint(self._number, self._tensors(), self._state())
        write_checkpoint(self.folder / "checkpoints", checkpoint)

    def _begun(self) -> list[Stage]:
        """The stages whose learned state exists."""
        return self.stages[: self.position.stage + self.position.stage_begun]

    def _tensors(self) -> dict[str, torch.Tensor]:
        found = {f"model.{k}": v for k, v in self.run.model.state_dict().items()}
        for number, stage in enumerate(self._begun()):
            head = f"stage.{number}"
            found |= {f"{head}.state.{k}": v for k, v in stage.state_dict().items()}
            for name, module in stage.modules():
                found |= {f"{head}.module.{name}.{k}": v for k, v in module.state_dict().items()}
        if self.position.stage_begun:
            for name, optimiser in self.run.optimisers.items():
                found |= {f"part.{name}.{k}": v for k, v in optimiser.state_dict().items()}
        return found

    def _state(self) -> dict[str, Any]:
        sampler: dict[str, Any] | None = None
        if self.position.stage_begun and self._batches is not None:
            sampler = self._batches.sampler.state_dict(done=self.position.batch)
            sampler["epoch"] = self.position.epoch
        return {
            "identity": self.identity,
            "position": asdict(self.position),
            "sampler": sampler,
            "sums": asdict(self.run.sums),
            "judgement": self.judgement.state_dict(),
            "scale": asdict(self.run.scale),
            # What stages set in `begin`, which is not called again.
            "evaluating": [n for n, m in self.run.model.named_modules() if not m.training],
            "frozen": [n for n, p in self.run.model.named_parameters() if not p.requires_grad],
            "metrics": 0 if self.journal is None else self.journal.length,
        }

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go to where a checkpoint was written.

        Raises:
            InputError: The pictures or the sampler's settings are others.
        """
        tensors, state, run = checkpoint.tensors, checkpoint.state, self.run
        self._number = checkpoint.number
        self.position = Position(**state["position"])
        self.judgement = Judgement.of(state["judgement"])
        sums = state["sums"]
        sums["totals"] = {name: (total, n) for name, (total, n) in sums["totals"].items()}
        run.sums = Sums(**sums)
        run.scale = LossScale(**state["scale"])
        run.model.load_state_dict(_below(tensors, "model."))
        for name, part in run.model.named_modules():
            part.training = name not in state["evaluating"]
        for name, parameter in run.model.named_parameters():
            parameter.requires_grad_(name not in state["frozen"])
        for number, stage in enumerate(self._begun()):
            head = f"stage.{number}"
            stage.load_state_dict(_below(tensors, f"{head}.state."))
            for name, module in stage.modules():
                module.load_state_dict(_below(tensors, f"{head}.module.{name}."))
        if not self.position.stage_begun:
            return
        stage = self.stages[self.position.stage]
        self._seed_begin()
        stage.resume(run)
        self._prepare(stage)
        for name, optimiser in run.optimisers.items():
            optimiser.load_state_dict(_below(tensors, f"part.{name}."))
        assert self._batches is not None
        self._batches.sampler.load_state_dict(state["sampler"])

    def _say(self, text: str) -> None:
        if self.run.world.first:
            self.run.progress.say(text)
        if self.journal is not None:
            self.journal.log(text)


def seed_torch(seed: int, *place: object) -> None:
    """Seed torch's generators from a seed and a place in the run."""
    text = ":".join(map(str, (seed, *place))).encode()
    number = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1
    torch.manual_seed(number)


def _below(tensors: dict[str, torch.Tensor], head: str) -> dict[str, torch.Tensor]:
    return {name[len(head) :]: value for name, value in tensors.items() if name.startswith(head)}
