"""The digits are scikit-learn's, split once and for all."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from src.config import Config
from src.data import DataBundle, load_dataset


def digits() -> DataBundle:
    return load_dataset(Config(name="test"), "cpu")


def test_split_has_the_stated_sizes_and_loses_no_image() -> None:
    bundle, published = digits(), load_digits()
    assert (
        (len(bundle.train), len(bundle.test))
        == (bundle.info.train_size, bundle.info.test_size)
        == (1442, 355)
    )
    ours = np.concatenate(
        [split.images_N_C_H_W.numpy().reshape(-1, 64) for split in (bundle.train, bundle.test)]
    )
    theirs = np.rint(published.data * 255 / 16).astype(np.uint8)
    # Labelled rows as a sorted table, because the split has changed their order.
    labels = torch.cat([bundle.train.labels_N, bundle.test.labels_N]).numpy()
    ours, theirs = np.column_stack([ours, labels]), np.column_stack([theirs, published.target])
    assert np.array_equal(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)])


def test_test_images_are_every_fifth_of_their_class() -> None:
    published, expected = load_digits(), []
    seen = [0] * 10
    for image, label in zip(published.data, published.target, strict=True):
        seen[label] += 1
        if seen[label] % 5 == 0:
            expected.append((image * 255 / 16).round())
    assert np.array_equal(digits().test.images_N_C_H_W.numpy().reshape(-1, 64), np.array(expected))


def test_pixels_span_the_whole_of_0_to_1() -> None:
    train = digits().train
    inputs = train.inputs(torch.arange(len(train)))
    assert inputs.shape[1:] == (1, 8, 8)
    assert inputs.min() == 0 and inputs.max() == 1


def test_split_is_no_easier_or_harder_than_a_random_one() -> None:
    """Logistic regression reaches 0.958 to 0.964 on stratified random splits of this size."""
    bundle = digits()
    train, test = (
        (split.images_N_C_H_W.numpy().reshape(len(split), 64) / 255) for split in (bundle.train, bundle.test)
    )
    fitted = LogisticRegression(max_iter=500).fit(train, bundle.train.labels_N.numpy())
    assert 0.94 < fitted.score(test, bundle.test.labels_N.numpy()) < 0.98
