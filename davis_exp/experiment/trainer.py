"""Lightning's Trainer, as an experiment wants it."""

import logging
import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from davis_exp.config.instantiate import make, plain
from davis_exp.launch import ranks
from davis_exp.utils import distributed
from davis_exp.utils.errors import BadInput

if TYPE_CHECKING:
    import pytorch_lightning as pl

# What Lightning warns of that is meant so, or its own affair.
EXPECTED_WARNINGS = (
    ".*isinstance\\(treespec, LeafSpec\\).*",
    ".*does not have many workers.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*WeightAveraging callback, but loading a checkpoint outside.*",
    ".*The number of training batches .* is smaller than the logging interval.*",
    ".*GPU available but not used.*",
    ".*module\\(s\\) in eval mode at the start of training.*",  # frozen encoders are
    ".*Grad strides do not match bucket view strides.*",  # channels_last weights on several devices
    ".*your dataloader is not resumable.*",  # davis_exp.resuming has it begin where it should
    ".*when logging on epoch level in distributed setting.*",  # val/J is every rank's before it is logged
)
PRECISIONS = ("32-true", "32", 32, "16-mixed", "bf16-mixed")


def build_trainer(cfg: DictConfig, output: Path, callbacks: "list[pl.Callback]") -> "pl.Trainer":
    """Lightning's Trainer and its logger, keeping everything under `output`. A rank meets the others here."""
    from pytorch_lightning.callbacks import ModelCheckpoint, ProgressBar
    from pytorch_lightning.plugins.environments import LightningEnvironment, TorchElasticEnvironment
    from pytorch_lightning.strategies import DDPStrategy
    from pytorch_lightning.utilities.exceptions import MisconfigurationException

    from davis_exp.tracking.metrics_csv import MetricsCsv
    from davis_exp.tracking.recorder import Recorder
    from davis_exp.training.callbacks.checkpoint import AtomicCheckpointIO
    from davis_exp.training.callbacks.progress import PlainProgress
    from davis_exp.training.settings import translated

    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)  # no tips, no list of absent hardware
    for message in EXPECTED_WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    logger: Any = make(cfg.logger, "logger")(save_dir=str(output)) if cfg.get("logger") else False
    if isinstance(logger, Recorder):
        logger.config = plain(cfg)
    if logger and not isinstance(logger, MetricsCsv):
        logger = [logger, MetricsCsv(str(output))]  # the run's own curves, wherever else they go
    trainer = make(translated(plain(cfg.trainer)), "trainer")
    for name in ("fast_dev_run", "limit_test_batches"):
        if cfg.trainer.get(name):
            raise BadInput(f"trainer.{name}: results must be whole; for a quick look use trainer=debug")
    if cfg.trainer.get("precision") not in (None, *PRECISIONS):
        raise BadInput(
            f"trainer.precision: must be one of {', '.join(map(str, PRECISIONS[:1] + PRECISIONS[3:]))}"
        )
    world = distributed.world_size()
    several = world > 1
    if several and cfg.trainer.get("strategy"):
        raise BadInput(
            "trainer.strategy: several devices train by DDP, whose settings are ours; leave it out"
        )
    # Unused parameters are looked for, since parts of a model may lie idle: a stage that no decoder reads, a head.
    group: dict[str, Any] = {}
    if several:
        group = _as_started(cfg.trainer) | {"strategy": DDPStrategy(find_unused_parameters=True)}
    try:
        built = trainer(
            **group,
            plugins=[TorchElasticEnvironment() if several else LightningEnvironment(), AtomicCheckpointIO()],
            default_root_dir=str(output),
            callbacks=callbacks,
            logger=logger,
            enable_progress_bar=any(isinstance(c, ProgressBar) for c in callbacks)
            or (sys.stderr.isatty() and not any(isinstance(c, PlainProgress) for c in callbacks)),
            enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # clips are sharded by our own sampler, sequences whole
        )
    except (ValueError, TypeError, RuntimeError, MisconfigurationException) as error:
        raise BadInput(
            f"trainer: Lightning refuses these settings: {' '.join(str(error).split())}"
        ) from error
    # Signals are ours (utils/interrupts): Lightning's own end a training without a word of how to go on.
    built._signal_connector.register_signal_handlers = lambda: None
    if built.world_size != world:
        raise BadInput(
            f"trainer.devices: {built.world_size} processes are needed and {world} started: give davis-exp "
            "a number, as trainer.devices=2, or leave it to torchrun"
        )
    if several and cfg.trainer.get("sync_batchnorm") and built.strategy.root_device.type == "cpu":
        raise BadInput("trainer.sync_batchnorm: PyTorch has it for GPUs only; set it to false")
    return built


def _as_started(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """The devices and nodes that ranks have been started on. Raises BadInput where `trainer` asks for others."""
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    there = {"devices": local, "num_nodes": distributed.world_size() // local}
    for key, started in there.items():
        if (asked := ranks.number(plain(trainer).get(key))) not in (1, started):
            raise BadInput(
                f"trainer.{key}={asked}: {started} started; leave it to what starts them, or ask for as many"
            )
    if ranks.number(plain(trainer).get("devices")) == local:  # which ones is the config's to say
        del there["devices"]
    return there
