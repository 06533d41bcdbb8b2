"""What a .keras file may say of its model: it is data, and makes nothing but layers of Keras' own by a closed table."""

from collections.abc import Iterator
from typing import Any

from davis_exp.models.keras.backend import keras
from davis_exp.utils import given
from davis_exp.utils.errors import brief, quoted

TEXT = 2**23  # letters
LAYERS = 3000
LARGEST = 2**16  # of a whole number
TABLE = {
    "keras.layers": "InputLayer Conv2D DepthwiseConv2D SeparableConv2D Conv2DTranspose Dense BatchNormalization "
    "LayerNormalization GroupNormalization UnitNormalization Normalization Rescaling Resizing Activation ReLU LeakyReLU "
    "PReLU ELU Softmax MaxPooling2D AveragePooling2D GlobalAveragePooling2D GlobalMaxPooling2D UpSampling2D "
    "ZeroPadding2D Cropping2D Add Subtract Multiply Average Maximum Minimum Concatenate Dropout SpatialDropout2D "
    "GaussianNoise GaussianDropout Reshape Permute Flatten Identity",
    "keras.initializers": "Zeros Ones Constant RandomNormal RandomUniform TruncatedNormal VarianceScaling GlorotNormal "
    "GlorotUniform HeNormal HeUniform LecunNormal LecunUniform Orthogonal OrthogonalInitializer Identity",
    "keras.regularizers": "L1 L2 L1L2",
    "keras.constraints": "MaxNorm MinMaxNorm NonNeg UnitNorm",
    "keras": "DTypePolicy Sequential Functional",
    "keras.src.models.functional": "Functional",
    "keras.src.ops.numpy": "Add Subtract Multiply Divide TrueDivide Maximum Minimum Concatenate",
}
KNOWN = {(module, name) for module, names in TABLE.items() for name in names.split()}
TENSOR = "__keras_tensor__"  # how layers are joined
SHARED = "shared_object_id"  # any number, by which objects are the same one


def model(text: str) -> Any:
    """The model that `text` (JSON) describes. Raises ValueError for one that is not made of what the table holds."""
    described = check(text)
    described.pop("compile_config", None)
    try:
        made = keras().saving.deserialize_keras_object(described, safe_mode=True)
    except Exception as error:
        raise ValueError(f"architecture: Keras makes no model of it ({brief(error)})") from error
    if not isinstance(made, keras().Model):
        raise ValueError(f"architecture: it describes a {type(made).__name__}, no model")
    return made


def check(text: str) -> dict[str, Any]:
    """What `text` holds, once nothing in it is found that is not known. Raises ValueError, or BadInput if it is no JSON."""
    if len(text) > TEXT:
        raise ValueError("architecture: it is longer than that of any model")
    described = given.parse_json(text, "architecture")
    layers = 0
    for node in _nodes(described):
        numeral = isinstance(node, int | float) and not isinstance(node, bool)
        if numeral and not given.number(node, -LARGEST, LARGEST):
            raise ValueError(f"architecture: {quoted(node)} is more than a layer can have")
        if not isinstance(node, dict) or not node.keys() & {"class_name", "module", "registered_name"}:
            continue
        name, module = node.get("class_name"), node.get("module")
        if name == TENSOR and module is None:
            continue
        layers += module == "keras.layers"
        where = f"{quoted(module)}.{quoted(name)}"
        if not isinstance(name, str) or not isinstance(module, str) or (module, name) not in KNOWN:
            raise ValueError(
                f"architecture: it names {where}, which is none of the layers that a file may name and might run "
                "anything; make the model by a function of your own instead: model=keras model.factory=…"
            )
        if node.get("registered_name") not in (None, name):
            raise ValueError(f"architecture: it calls {where} {quoted(node['registered_name'])}")
    if layers > LAYERS:
        raise ValueError(f"architecture: more than {LAYERS:,} layers")
    if not isinstance(described, dict) or "class_name" not in described:
        raise ValueError("architecture: it describes no model")
    return described


def _nodes(value: Any) -> Iterator[Any]:
    left = [value]
    while left:
        node = left.pop()
        yield node
        if isinstance(node, dict):
            left.extend(value for key, value in node.items() if key != SHARED)
        elif isinstance(node, list):
            left.extend(node)
