"""Weights trained before: torchvision's, downloaded or from a file, put into a network of torchvision's layout."""

import zipfile
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn

from src.utils.errors import UserError, in_a_line

Weights = dict[str, Tensor]
"""Tensors by the names that torchvision, or whoever published them, gives them."""

WRAPPERS = ("state_dict", "model")
"""Keys under which training scripts keep the state dict beside other things, in the order they are tried."""
PARALLEL = "module."
"""What nn.DataParallel and its like put before every name."""
NOT_WEIGHTS = "num_batches_tracked"


def download_weights(name: str) -> Weights:
    """torchvision's first ImageNet weights of that network, from its cache or downloaded there.

    Raises UserError with the address and the way round it where that does not succeed.
    """
    # Imported where it is used: it takes seconds, and weights from a file need none of it.
    import torchvision

    weights = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
    address, cached = published_weights(name)
    try:
        return weights.get_state_dict(progress=False, check_hash=True, map_location="cpu", weights_only=True)
    except Exception as error:  # networks fail in many ways, and so does torch on a damaged file
        raise UserError(
            f"the weights of {name} could not be had from {address} ({in_a_line(error)}); copy that file to "
            f"{cached}, or anywhere and name it in model.pretrained_model, or set model.pretrained to false"
        ) from None


def published_weights(name: str) -> tuple[str, Path]:
    """The address of torchvision's first ImageNet weights of that network, and the file they are kept in here."""
    import torchvision

    address = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].url
    return address, Path(torch.hub.get_dir()) / "checkpoints" / Path(address).name


def read_weights(path: Path) -> Weights:
    """The weights in a file that ``torch.save`` made of a state dict, or of a checkpoint that holds one.

    Raises UserError where the file holds anything else.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        if not zipfile.is_zipfile(path):
            raise _not_readable(path, error) from None
        raise UserError(
            f"{path}: holds more than tensors, such as a whole model, which is code that is not run; save "
            "model.state_dict() and give that file"
        ) from None
    except Exception as error:  # torch answers damaged files with errors of many kinds
        raise _not_readable(path, error) from None
    for wrapper in WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(wrapper), dict):
            found = found[wrapper]
    if not isinstance(found, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in found.items()
    ):
        raise UserError(f"{path}: holds no state dict of named tensors, such as torchvision's files do")
    if all(name.startswith(PARALLEL) for name in found):
        return {name.removeprefix(PARALLEL): tensor for name, tensor in found.items()}
    return found


def _not_readable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: not readable as weights ({in_a_line(error)}); give a file of a state dict")


def load_weights(
    net: nn.Module, weights: Weights, classifier: str = "fc.", stem: str = "conv1.weight"
) -> None:
    """Put the weights into the network, in float32. A ``classifier`` for other classes is left out, and a first
    convolution (``stem``) over RGB serves grey images as the sum over its channels: the response to R = G = B.

    Raises UserError with what is missing, too much or of another shape.
    """
    own = net.state_dict()
    given = {name: tensor.float() for name, tensor in weights.items() if not name.endswith(NOT_WEIGHTS)}
    if stem in given and given[stem].ndim == 4 and (given[stem].shape[1], own[stem].shape[1]) == (3, 1):
        given[stem] = given[stem].sum(1, keepdim=True)
    kept = {
        name: tensor
        for name, tensor in own.items()
        if name.endswith(NOT_WEIGHTS)
        or (name.startswith(classifier) and (name not in given or given[name].shape != tensor.shape))
    }
    merged = {**given, **kept}
    problems = [
        *(f"{name} is missing" for name in own.keys() - merged.keys()),
        *(f"{name} is unknown" for name in merged.keys() - own.keys()),
        *(
            f"{name} has the shape {tuple(merged[name].shape)} and not {tuple(tensor.shape)}"
            for name, tensor in own.items()
            if name in merged and merged[name].shape != tensor.shape
        ),
    ]
    if problems:
        shown = "; ".join(sorted(problems)[:3])
        raise UserError(f"the weights are of another network ({len(problems)} differences: {shown})")
    net.load_state_dict(merged, assign=True)
