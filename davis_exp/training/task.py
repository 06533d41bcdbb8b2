"""The LightningModule: how a segmenter learns, is validated by sequence, and hands its masks on."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import default_collate

from davis_exp.config.instantiate import refusing
from davis_exp.data.clips import ClipSampler
from davis_exp.data.flow import MotionSource
from davis_exp.data.sequences import VideoSequence
from davis_exp.inference import Inference, predict
from davis_exp.metrics.bits import Bits
from davis_exp.metrics.measures import SELECTED, VALIDATION
from davis_exp.metrics.protocols import THRESHOLD
from davis_exp.metrics.statistics import average
from davis_exp.models import memory_format
from davis_exp.training import cpu, position
from davis_exp.training.teacher import Teacher
from davis_exp.utils import distributed, written
from davis_exp.utils.errors import BadInput

DIVERGED = "diverged.pt"  # in the run's folder
LOSS_CHECK_EVERY = 10  # batches between looks at the loss where none else is due: each waits for the device
MaskSink = Callable[[int, np.ndarray, str], None]  # global index, (H, W) uint8 confidence, frame id


class SegmentationTask(pl.LightningModule):
    """Trains a segmenter on clips and runs it on whole sequences.

    Args:
        model: a Segmenter (see `davis_exp.models.segmenter`).
        loss: called with (Prediction, masks (B,T,1,H,W), frames (B,T,3,H,W) in [0, 1]), floats → scalar.
        optimizer: called with parameter groups → Optimizer.
        scheduler: called with (optimizer, total_steps=…) → LRScheduler, stepped every optimizer step.
        teacher: a trained model whose answers are learnt beside the masks.
        motion: where motion pictures of whole sequences come from, for a model that needs them.
        inference: how sequences are read and windows are laid.
        encoder_lr_factor: the encoder's learning rate as a fraction of the optimizer's.
        channels_last: lay 4-D weights out as NHWC, which some convolutions prefer.
        seed: what each epoch's random numbers (dropout, drop path) start from.
        config: the whole resolved config, plain containers: it makes the checkpoint self-contained.

    Batches are {"frames": uint8 (B,T,3,H,W), "masks": uint8 (B,T,1,H,W)}, with "motion" like the frames where the
    model needs it, or with stored "features" (B,T,C,h,w) per level in the frames' place; where "annotated" (B,T) is
    false, a frame has no mask and counts for nothing. Validation and test receive
    `VideoSequence` objects. `mask_sink`, when set, is given every mask of a test.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        loss: nn.Module | None = None,
        teacher: Teacher | None = None,
        optimizer: Callable[[Iterable], Optimizer] | None = None,
        scheduler: Callable[..., Any] | None = None,
        inference: Inference,
        motion: MotionSource | None = None,
        encoder_lr_factor: float = 1.0,
        channels_last: bool = True,
        seed: int = 0,
        config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if encoder_lr_factor < 0:
            raise BadInput(f"task.encoder_lr_factor: must be at least 0, got {encoder_lr_factor}")
        self.model = model
        if channels_last:
            memory_format.channels_last(model)
        self.loss = loss
        self.teacher = teacher
        self.learnt_from: frozenset[str] = frozenset()  # clips that were trained on before, or by the teacher
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.inference = inference
        self.motion = motion
        self.encoder_lr_factor = encoder_lr_factor
        self.seed = seed
        self.config = config or {}
        self.mask_sink: MaskSink | None = None
        self.diverges = False  # whether a loss that is not finite is what was looked for
        self._loss: Tensor | None = None  # of the last batch, on its device
        self._unseen: list[tuple[int, Tensor]] = []  # batches since the last look, and their losses
        self._step = 0  # optimizer steps taken when that batch began
        self._validated: list[float | None] = []  # one mean per sequence of the running validation

    # ---- training -----------------------------------------------------------------------------------

    def on_train_start(self) -> None:
        if self.device.type == "cpu":
            cpu.keep_memory()
        self._step = self.trainer.global_step  # of a training that is gone on with
        self._unseen = []

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # Dropout and drop path draw from the global generator: started anew for each batch, a run resumed at any
        # draws what the uninterrupted one does.
        place = [self.seed, self.current_epoch, batch_idx, self.global_rank]
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1)[0]))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        masks = batch["masks"].float()
        frames = motion = None
        with cpu.FastDepthwise() if self.device.type == "cpu" else nullcontext():
            if "features" in batch:
                features = [level.to(self.dtype) for level in batch["features"]]
                prediction, _ = self.model.decode(features, (masks.shape[1], *masks.shape[3:]))  # type: ignore[operator]
            else:
                frames = batch["frames"].float().div_(255)
                motion = batch["motion"].float().div_(255) if "motion" in batch else None
                prediction, _ = self.model(frames, motion)
        taught = None
        if self.teacher is not None:
            try:
                taught = self.teacher.loss(prediction, frames, motion)
            except ValueError as error:
                raise BadInput(f"teacher: {error}") from error
        if "annotated" in batch and not batch["annotated"].all():
            there = batch["annotated"]
            # one clip of all frames that have a mask: a loss is a mean over frames
            prediction, masks = prediction.map(lambda logits: logits[there][None]), masks[there][None]
            frames = None if frames is None else frames[there][None]
        assert self.loss is not None
        try:
            loss = self.loss(prediction, masks, frames)
        except ValueError as error:
            raise BadInput(f"loss: {error}") from error
        if self.teacher is not None and taught is not None:
            loss = (1 - self.teacher.weight) * loss + self.teacher.weight * taught
        self._loss = loss.detach()
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        assert self._loss is not None  # not `outputs`: there it is divided by trainer.accumulate_grad_batches
        self._unseen.append((batch_idx, self._loss))
        if not self._asked_for(batch_idx):
            return
        loss = self.look_at_losses()
        assert loss is not None
        loss = torch.stack(distributed.gathered(loss)).mean()
        self.log("train/loss", loss, prog_bar=True, on_step=True, on_epoch=False)

    def look_at_losses(self) -> Tensor | None:
        """The last batch's loss, on the CPU; None where all have been looked at. Raises BadInput if one is not finite."""
        if not self._unseen:
            return None
        losses = torch.stack([loss for _, loss in self._unseen]).cpu()
        bad = [i for i, finite in enumerate(torch.isfinite(losses).tolist()) if not finite]
        if bad and not self.diverges:
            self._refuse_divergence(self._unseen[bad[0]][0], float(losses[bad[0]]))
        self._unseen.clear()
        return losses[-1]

    def _refuse_divergence(self, batch_idx: int, loss: float) -> None:
        """Keep the first batch whose loss is not finite, for looking at, and raise BadInput."""
        kept = ""
        loader = getattr(self.trainer, "train_dataloader", None)
        sampler = getattr(loader, "sampler", None)
        if loader is not None and isinstance(sampler, ClipSampler):
            first = batch_idx * loader.batch_size
            addresses = sampler.addresses(self.current_epoch)[first : first + loader.batch_size]
            path = Path(self.trainer.default_root_dir) / DIVERGED
            with written.atomic_file(path) as part:
                batch = default_collate([loader.dataset[address] for address in addresses])
                torch.save({"loss": loss, "addresses": addresses, **batch}, part)
            kept = f"; its batch is kept in {path}"
        raise BadInput(
            f"the loss is {loss} at step {self.trainer.global_step}: training has diverged, in batch {batch_idx} of epoch "
            f"{self.current_epoch}; lower optimizer.lr or set trainer.gradient_clip_val=1{kept}"
        )

    def _asked_for(self, batch_idx: int) -> bool:
        """Whether the loss of this batch is wanted: to be logged, shown, monitored, or to see that it is finite."""
        trainer, step = self.trainer, self.trainer.global_step
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]  # 0: never
        stepped = step != self._step  # not after every batch, where gradients are accumulated
        self._step = step
        return (
            (stepped and every > 0 and step % every == 0)
            or batch_idx == 0  # the bar shows it from the beginning
            or (batch_idx + 1) % LOSS_CHECK_EVERY == 0
            or trainer.is_last_batch
            or trainer.should_stop
            or 0 < trainer.max_steps <= step
        )

    def configure_optimizers(self) -> Any:
        assert self.optimizer is not None
        assert self.scheduler is not None
        encoder = getattr(self.model, "encoder", None)
        encoder_ids = {id(p) for p in encoder.parameters()} if encoder is not None else set()
        trained = [p for p in self.model.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if id(p) not in encoder_ids], "name": "rest"},
            {"params": [p for p in trained if id(p) in encoder_ids], "name": "encoder"},
        ]
        with refusing("optimizer"):
            optimizer = self.optimizer([group for group in groups if group["params"]])
        for group in optimizer.param_groups:
            if group["name"] == "encoder":
                group["lr"] *= self.encoder_lr_factor
        steps = max(1, int(self.trainer.estimated_stepping_batches))  # trainer.max_steps=0 takes none
        with refusing("scheduler"):
            scheduler = self.scheduler(optimizer, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    # ---- whole sequences ----------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        self._validated = []

    def validation_step(self, sequence: VideoSequence | None, batch_idx: int) -> None:
        if sequence is None:  # other ranks have one more
            return
        values = []
        for i, confidence in self._masks(sequence):
            if i in sequence.annotated:
                truth = sequence.annotation(i)
                values.append(SELECTED(Bits.of(truth.judged(confidence >= THRESHOLD)), Bits.of(truth.inside)))
        self._validated.append(average(values))

    def on_validation_epoch_end(self) -> None:
        everywhere = [mean for share in distributed.gathered(self._validated) for mean in share]
        self.log(VALIDATION, average(everywhere) or 0.0, prog_bar=True)

    def test_step(self, sequence: VideoSequence | None, batch_idx: int) -> None:
        if sequence is None:
            return
        for i, confidence in self._masks(sequence):
            if self.mask_sink is not None:
                self.mask_sink(sequence.index[i], confidence, sequence.frame_ids[i])

    def _masks(self, sequence: VideoSequence) -> Iterator[tuple[int, np.ndarray]]:
        return predict(self.model, sequence, self.inference, self.device, self.motion)

    # ---- checkpoints --------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = self.config
        batches = self.trainer.num_training_batches
        if self.trainer.state.fn == "fit" and batches != float("inf"):  # else before there is a loader
            position.settle(checkpoint, int(batches))
        data = getattr(self.trainer, "datamodule", None)
        if data is not None:
            seen = [s.identity for s in data.train_sequences]
            earlier = sorted(self.learnt_from - set(seen))
            held_out = [s.identity for s in data.val_sequences]
            checkpoint["clips"] = {"trained": [*seen, *earlier], "held_out": held_out}
