"""Config → objects: model, data, task, trainer. torch is imported here; Lightning only by what needs it."""

import contextlib
import dataclasses
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from davis_exp import config
from davis_exp.config.instantiate import check_node, make, plain, refusing
from davis_exp.launch import ranks
from davis_exp.utils import distributed
from davis_exp.utils.arguments import located
from davis_exp.utils.errors import BadInput

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from torch import nn

    from davis_exp.budget import Cost
    from davis_exp.data.datamodule import ClipDataModule, Loading
    from davis_exp.data.features import FeatureStore
    from davis_exp.data.flow import MotionSource
    from davis_exp.training.task import SegmentationTask

log = logging.getLogger(__name__)

# What Lightning warns of that is meant so, or its own affair.
MEANT = (
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
PARTS = ("encoder", "temporal", "decoder")  # root groups that a composed model is made of


def check(cfg: DictConfig) -> None:
    """Checks the nodes that training is made of before any data is read. Raises BadInput naming the key."""
    if cfg.seed < 0:
        raise BadInput(f"seed: must be at least 0, got {cfg.seed}")
    for key in ("loss", "optimizer", "scheduler", "trainer", "callbacks", "logger", "data", "augmentation"):
        node = plain(cfg.get(key))
        if key == "data":
            node = _part_loading(node)[1]
        check_node(node, key)
    from torch import nn

    with refusing("optimizer"):
        optimizer = make(cfg.optimizer, "optimizer")([nn.Parameter()])
    with refusing("scheduler"):
        make(cfg.scheduler, "scheduler")(optimizer, total_steps=1)


# ---- model ------------------------------------------------------------------------------------------


def build_model(cfg: Mapping[str, Any], make: Callable[[Any, str], Any] = make) -> "nn.Module":
    """The segmenter, with no pretrained weights loaded (`load_weights()` does that once the budget has passed).

    `make` builds the node at a key; another than ours may use a part again.
    """
    from torch import nn

    flow = make(cfg["flow"], "flow") if cfg.get("flow") else None
    model = make(cfg["model"], "model")
    if cfg["model"].get("_partial_"):  # else a whole model, which has no parts of ours
        parts = {name: make(cfg[name], name) for name in PARTS if cfg.get(name)}
        with _naming_parts(model):
            model = model(**parts, flow=flow if isinstance(flow, nn.Module) else None)
    needed = getattr(model, "needs_motion", False)
    if needed and flow is None:
        raise BadInput("flow: this model needs motion; choose where it comes from, as flow=dis")
    if flow is not None and not needed and not isinstance(flow, nn.Module):
        raise BadInput("flow: this model uses no motion; set flow=none or choose a two-stream encoder")
    return model


def build_motion(cfg: DictConfig) -> "MotionSource | None":
    """Where motion pictures come from; None where the model needs none or has a flow network of its own."""
    from davis_exp.data.flow import MotionSource

    flow = make(cfg.flow, "flow") if cfg.get("flow") else None
    return flow if isinstance(flow, MotionSource) else None


def load_weights(model: "nn.Module") -> None:
    """Pretrained weights, where the model has some to load. Raises BadInput if they cannot be had."""
    if hasattr(model, "load_weights"):
        with _naming_parts(type(model)):
            model.load_weights()  # type: ignore[operator]


@contextlib.contextmanager
def _naming_parts(model: Callable[..., Any]) -> Iterator[None]:
    """A ValueError inside becomes BadInput naming the config key; the parts of a model are keys of the root."""
    try:
        yield
    except ValueError as error:
        line = located("model", " ".join(str(error).split()), model)
        name = line.removeprefix("model.")
        raise BadInput(name if name.startswith((*PARTS, "flow")) else line) from error


def cost(cfg: DictConfig) -> "Cost":
    """What the composition costs: parameters and FLOPs per part, without allocating a weight."""
    from davis_exp import budget

    with budget.empty_weights():
        model = build_model(cfg)
    how = inference(cfg)
    return budget.measure(model, window=how.window, step=how.stride, passes=how.passes)


# ---- data, task, trainer ----------------------------------------------------------------------------


def build_features(cfg: DictConfig, model: "nn.Module", size: tuple[int, int]) -> "FeatureStore | None":
    """The store of what the frozen encoder of `model`, with its weights, makes of training frames, if one is wanted.

    Raises BadInput where features could not stay what they are.
    """
    from davis_exp import budget
    from davis_exp.data.features import FeatureStore
    from davis_exp.models.levels import Levels

    if not cfg.task.store_features:
        return None
    encoder = getattr(model, "encoder", None)
    if encoder is None or any(p.requires_grad for p in encoder.parameters()):
        raise BadInput(
            "task.store_features: the encoder learns; freeze it, as encoder=efficientnet_lite0_frozen"
        )
    if encoder.context != (0, 0) or set(Levels.of(encoder).temporal_strides) != {1}:
        raise BadInput(
            "task.store_features: frames are stored one by one; choose an encoder that sees them so"
        )
    if model.needs_motion:
        raise BadInput(
            "task.store_features: features of motion are not kept; choose an encoder of frames alone"
        )
    if any(not name.startswith("_") for name in plain(cfg.augmentation)):
        raise BadInput("task.store_features: stored features cannot be augmented; set augmentation=none")
    return FeatureStore(model.encode, budget.fingerprint(encoder), size)  # type: ignore[arg-type]


def build_data(cfg: DictConfig) -> "ClipDataModule":
    """The data module: the loading keys of the `data` node are its own, the rest makes the source."""
    from davis_exp.data.datamodule import ClipDataModule

    loading, node = _part_loading(plain(cfg.data))
    source = make(node, "data")
    augmentation = (
        make(cfg.augmentation, "augmentation") if cfg.get("augmentation") else None
    )  # `test` has none
    return ClipDataModule(source, augmentation, loading, seed=cfg.seed, motion=build_motion(cfg))


def _part_loading(node: dict[str, Any]) -> "tuple[Loading, dict[str, Any]]":
    """The `data` node's loading settings, and what is left: the source."""
    from davis_exp.data.datamodule import Loading

    names = [field.name for field in dataclasses.fields(Loading)]
    loading = {name: value for name, value in node.items() if name in names}
    config.check_call(Loading, loading, "data")
    return Loading(**loading), {name: value for name, value in node.items() if name not in names}


def build_task(cfg: DictConfig, model: "nn.Module") -> "SegmentationTask":
    """The LightningModule around `model`, ready to train."""
    from davis_exp.training.task import SegmentationTask

    task = plain(cfg.task)
    del task["store_features"]  # the data's affair: build_features
    if task.pop("compile", False):
        model.compile()
    config.check_call(SegmentationTask, task, "task", given=("model", "inference", "motion"))
    return SegmentationTask(
        model,
        loss=make(cfg.loss, "loss"),
        optimizer=make(cfg.optimizer, "optimizer"),
        scheduler=make(cfg.scheduler, "scheduler"),
        inference=inference(cfg),
        motion=build_motion(cfg),
        seed=cfg.seed,
        config=plain(cfg),
        **task,
    )


def inference(cfg: Mapping[str, Any]) -> Any:
    """How sequences are run; frames are seen at `inference.size`, or else at the size of the training clips."""
    from davis_exp.inference import Inference

    how = dict(plain(cfg["inference"]))
    config.check_call(Inference, how, "inference")
    key = "inference.size" if how["size"] else "data.size"
    size = how.pop("size") or plain(cfg.get("data") or {}).get("size")
    if size is not None and not (isinstance(size, list | tuple) and len(size) == 2):
        raise BadInput(f"{key}: give [height,width], got {size!r}")
    return Inference(size=tuple(size) if size else None, scales=tuple(how.pop("scales")), **how)


def build_callbacks(cfg: DictConfig) -> "list[pl.Callback]":
    """The callbacks that go with training."""
    return [make(node, f"callbacks.{name}") for name, node in cfg.callbacks.items() if node]


def build_trainer(cfg: DictConfig, output: Path, callbacks: "list[pl.Callback]") -> "pl.Trainer":
    """Lightning's Trainer and its logger, keeping everything under `output`. A rank meets the others here."""
    from pytorch_lightning.callbacks import ModelCheckpoint
    from pytorch_lightning.plugins.environments import LightningEnvironment, TorchElasticEnvironment
    from pytorch_lightning.strategies import DDPStrategy
    from pytorch_lightning.utilities.exceptions import MisconfigurationException

    from davis_exp.tracking.metrics_csv import MetricsCsv
    from davis_exp.training.callbacks.checkpoint import AtomicCheckpointIO
    from davis_exp.training.callbacks.progress import PlainProgress

    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)  # no tips, no list of absent hardware
    for message in MEANT:
        warnings.filterwarnings("ignore", message=message)
    logger: Any = make(cfg.logger, "logger")(save_dir=str(output)) if cfg.get("logger") else False
    if logger and not isinstance(logger, MetricsCsv):
        logger = [logger, MetricsCsv(str(output))]  # the run's own curves, wherever else they go
    trainer = make(cfg.trainer, "trainer")
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
            enable_progress_bar=sys.stderr.isatty()
            and not any(isinstance(c, PlainProgress) for c in callbacks),
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
