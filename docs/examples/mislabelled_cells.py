"""Which blood cells have a wrong label? By influence functions, from images of malaria.

    python docs/examples/mislabelled_cells.py malaria_cells.npz

Trains a small convolutional net, computes the influences of all training cells on all test
cells, and for each training cell takes the 25th percentile of its influences on test cells of its
own label: a cell that harms even those that it should be like is suspect. Patients are either
trained or tested on. Some labels are flipped beforehand, to count how many of those come out low.
Writes the picture worst-cells.png and the folder influences.zarr into the current directory.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dvl_direct import DirectInfluence
from dvl_influence import SequentialInfluenceCalculator

SEED = 0
SHARE_FLIPPED = 0.05
EPOCHS = 25
CELLS_A_GROUP = 12
loss = nn.functional.cross_entropy


def net() -> nn.Module:
    """Return a small convolutional net for images [b, 3, 48, 48]."""
    torch.manual_seed(SEED)
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(12 * 4 * 4, 2),
    )


def train_net(x: torch.Tensor, y: torch.Tensor) -> nn.Module:
    """Return the net, trained on images and labels."""
    model = net()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-2)
    loader = DataLoader(TensorDataset(x, y), batch_size=64, shuffle=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, EPOCHS * len(loader))
    for _ in range(EPOCHS):
        for images, labels in loader:
            # Cells have no up and no left.
            mirrored = [axis for axis in (2, 3) if torch.rand(1) < 0.5]
            optimizer.zero_grad()
            loss(model(images.flip(mirrored)), labels).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def picture(groups: dict[str, tuple[np.ndarray, list[str]]], path: Path) -> None:
    """Draw groups of cells, each cell with the label that it was given."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2 * len(groups)), layout="constrained")
    parts = figure.subfigures(len(groups), 1)
    for part, (title, (cells, labels)) in zip(parts, groups.items(), strict=True):
        part.suptitle(title)
        axes = part.subplots(2, CELLS_A_GROUP // 2).ravel()
        for axis, cell, label in zip(axes, cells, labels, strict=True):
            axis.imshow(cell)
            axis.set_title(label, fontsize=9)
            axis.axis("off")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Train, compute influences, look at the lowest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="malaria_cells.npz")
    parser.add_argument("--cells", type=int, default=4000, help="how many of them to use")
    options = parser.parse_args()
    with np.load(options.data, allow_pickle=False) as file:
        images, labels = file["images"][: options.cells], file["labels"][: options.cells]
        patients, classes = file["group"][: options.cells], file["classes"].tolist()

    rng = np.random.default_rng(SEED)
    tested = rng.permutation(np.unique(patients))[: len(np.unique(patients)) // 4]
    is_test = np.isin(patients, tested)
    x = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - 0.5) / 0.2
    y = torch.from_numpy(labels).long()
    x_train, y_true, x_test, y_test = x[~is_test], y[~is_test], x[is_test], y[is_test]
    flipped = torch.from_numpy(rng.random(len(y_true)) < SHARE_FLIPPED)
    y_train = torch.where(flipped, 1 - y_true, y_true)

    model = train_net(x_train, y_train)
    hits = (model(x_test).argmax(dim=1) == y_test).float().mean().item()
    print(
        f"{len(y_train)} training cells, {flipped.sum()} labels flipped; test accuracy {hits:.3f}"
    )

    train = DataLoader(TensorDataset(x_train, y_train), batch_size=500)
    test = DataLoader(TensorDataset(x_test, y_test), batch_size=500)
    if_model = DirectInfluence(model, loss, curvature="ggn", regularization="auto")
    if_model.fit(train)
    lazy_values = SequentialInfluenceCalculator(if_model).influences(test, train)
    scores = lazy_values.to_zarr("influences.zarr", overwrite=True)

    suspicion = np.empty(len(y_train))
    for label in range(len(classes)):
        own = np.asarray(scores.oindex[(y_test == label).numpy(), (y_train == label).numpy()])
        suspicion[(y_train == label).numpy()] = np.percentile(own, 25, axis=0)

    with torch.no_grad():
        losses = loss(model(x_train), y_train, reduction="none").numpy()
    by_influence = roc_auc_score(flipped, -suspicion)
    by_loss = roc_auc_score(flipped, losses)
    print(
        f"area under the ROC curve for the flipped labels: influence {by_influence:.3f}, ", end=""
    )
    print(f"loss alone {by_loss:.3f}")
    lowest = np.argsort(suspicion)
    examined = lowest[: len(lowest) // 10]
    found = int(flipped[torch.from_numpy(examined)].sum())
    print(f"{found} of them are among the lowest tenth; {Path('worst-cells.png').resolve()}")

    titles = np.array(classes)[y_train.numpy()]
    cells = images[~is_test]
    untouched = lowest[~flipped.numpy()[lowest]]
    groups = {
        "The lowest of all": lowest,
        "The lowest whose labels are the original ones": untouched,
    }
    chosen = {title: rows[:CELLS_A_GROUP] for title, rows in groups.items()}
    drawn = {title: (cells[rows], titles[rows].tolist()) for title, rows in chosen.items()}
    picture(drawn, Path("worst-cells.png"))


if __name__ == "__main__":
    main()
