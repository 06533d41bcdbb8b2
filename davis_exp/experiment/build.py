"""Config → objects: model, data, task, trainer. torch is imported here; Lightning only by what needs it."""

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from davis_exp import config
from davis_exp.config.instantiate import make, plain
from davis_exp.utils.arguments import located
from davis_exp.utils.errors import BadInput

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from torch import nn

    from davis_exp.budget import Cost
    from davis_exp.data.datamodule import ClipDataModule
    from davis_exp.data.features import FeatureStore
    from davis_exp.data.flow import MotionSource
    from davis_exp.inference import Inference
    from davis_exp.training.task import SegmentationTask
    from davis_exp.training.teacher import Teacher

log = logging.getLogger(__name__)

PARTS = ("encoder", "temporal", "decoder")  # root groups that a composed model is made of


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
        with naming_parts(model):
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
        with naming_parts(type(model)):
            model.load_weights()  # type: ignore[operator]


@contextlib.contextmanager
def naming_parts(model: Callable[..., Any]) -> Iterator[None]:
    """A ValueError inside becomes BadInput naming the config key; the parts of a model are keys of the root."""
    try:
        yield
    except ValueError as error:
        line = located("model", " ".join(str(error).split()), model)
        name = line.removeprefix("model.")
        raise BadInput(name if name.startswith((*PARTS, "flow")) else line) from error


def cost(cfg: DictConfig) -> "Cost":
    """What the composition costs: parameters and FLOPs per part, without allocating a weight.

    Raises BadInput for parts that cannot be built, or cannot run on the frames that they will be given.
    """
    from davis_exp import budget

    with budget.empty_weights():
        model = build_model(cfg)
    for note in notes(model):
        log.info("%s", note)
    with naming_parts(type(model)):
        return budget.measure(model, **measured(inference(cfg), cfg))


def measured(how: "Inference", cfg: Mapping[str, Any]) -> dict[str, Any]:
    """How `budget.measure` runs a model: as inference does, on frames of the sizes that it will be given."""
    from davis_exp import budget

    sizes = dict.fromkeys(tuple(size) for size in (clip_size(cfg), how.size) if size)
    seen = tuple(sizes) or (budget.FRAME,)
    return {"window": how.window, "step": how.stride, "passes": how.passes, "seen": seen}


def clip_size(cfg: Mapping[str, Any]) -> Any:
    """(height, width) of the training clips; None where the data has none of its own."""
    return plain(cfg.get("data") or {}).get("size")


def notes(model: "nn.Module") -> list[str]:
    """What there is to know of its parts beside their cost."""
    found = {}
    for name, module in model.named_modules():
        if (size := getattr(module, "image_size", None)) is not None:
            found[name] = (
                f"{name}: {getattr(module, 'name', type(module).__name__)} takes images of {size[0]} x {size[1]} only: "
                "frames are resized to it"
            )
    return list(found.values())


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


def build_data(cfg: DictConfig, motion: "MotionSource | None" = None) -> "ClipDataModule":
    """The data module: the loading keys of the `data` node are its own, the rest makes the source."""
    from davis_exp.data.datamodule import ClipDataModule, Loading

    node = plain(cfg.data)
    names = {field.name for field in dataclasses.fields(Loading)}
    loading = {name: value for name, value in node.items() if name in names}
    config.check_call(Loading, loading, "data")
    source = make({name: value for name, value in node.items() if name not in names}, "data")
    augmentation = make(cfg.augmentation, "augmentation") if cfg.get("augmentation") else None
    return ClipDataModule(source, augmentation, Loading(**loading), seed=cfg.seed, motion=motion)


def compile_quietly(model: "nn.Module") -> None:
    """Have PyTorch compile the model at its first call, in place."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # there may be no CUDA
    model.compile()


def build_task(
    cfg: DictConfig,
    model: "nn.Module",
    motion: "MotionSource | None" = None,
    teacher: "Teacher | None" = None,
) -> "SegmentationTask":
    """The LightningModule around `model`, ready to train."""
    from davis_exp.training.task import SegmentationTask

    task = plain(cfg.task)
    del task["store_features"]  # the data's affair: build_features
    if task.pop("compile", False):
        compile_quietly(model)
    config.check_call(SegmentationTask, task, "task", given=("model", "teacher", "inference", "motion"))
    return SegmentationTask(
        model,
        loss=make(cfg.loss, "loss"),
        teacher=teacher,
        optimizer=make(cfg.optimizer, "optimizer"),
        scheduler=make(cfg.scheduler, "scheduler"),
        inference=inference(cfg),
        motion=motion,
        seed=cfg.seed,
        config=plain(cfg),
        **task,
    )


def inference(cfg: Mapping[str, Any]) -> "Inference":
    """How sequences are run; frames are seen at `inference.size`, or else at the size of the training clips."""
    from davis_exp.inference import Inference

    how = dict(plain(cfg["inference"]))
    config.check_call(Inference, how, "inference")
    sizes = {"inference.size": how.pop("size"), "data.size": clip_size(cfg)}
    for key, size in sizes.items():
        if size is not None and not (isinstance(size, list | tuple) and len(size) == 2):
            raise BadInput(f"{key}: give [height,width], got {size!r}")
    size = next((tuple(size) for size in sizes.values() if size), None)
    for key in ("scales", "flow_gaps"):
        if isinstance(how.get(key), list):
            how[key] = tuple(how[key])
    return Inference(size=size, **how)


def build_callbacks(cfg: DictConfig) -> "dict[str, pl.Callback]":
    """The callbacks that go with training, by their names in the config."""
    nodes = cfg.get("callbacks") or {}
    return {str(name): make(node, f"callbacks.{name}") for name, node in nodes.items() if node}
