"""A peer's process: `python -m benchmark.bench.peers.driver PEER FILE LENGTH ADAM THREADS VARIANT RATE`.

It runs in the peers' environment, which has torch and NumPy, and nothing else of ours.
FILE holds batches (`exchange.py`). LENGTH is that which histories are padded to, 0: each batch to its longest. ADAM
is `own`, as the peer makes it, or `fused`, torch's fused one; RATE is its learning rate. The process says what it is in
one line of JSON, checksum of the samples as the model sees them included; then, for every line that it reads, it trains
once on all batches and answers with a line: seconds and mean loss. It ends with its input.

Settings are those of our DIEN as far as a peer has them: embedding 18, top MLP 200-80, attention 80-40, auxiliary loss
with weight 1, no other penalty, a user embedding under the official variant as ours. Inputs are tensors
before the clock starts. What a peer has no setting for, it keeps:
deepctr-torch  Weights from N(0, 1e-4), top MLP with PReLU, auxiliary head 100-50-1; packed GRU, loop over time for
               AUGRU. The length is part of its input's layout, so for batches of several lengths the layout is set
               batch by batch (`feature_index`), which its own `fit` cannot do. Its import asks the package index for
               a newer version, by a package that its requirements do not name: left out here.
torch-rechub   A GRU of 18 for each of the two fields instead of one of 36, the paper's attention and inner-product
               loss, Dice and batch normalisation in the top MLP; loop over all positions, padded ones too.
"""

import importlib.metadata
import json
import sys
import time
import types
import warnings
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from benchmark.bench.peers.exchange import OF_BEHAVIOUR, Arrays, checksum, read_batches

EMBEDDING, TOP, ATTENTION = 18, (200, 80), (80, 40)


class Peer(Protocol):
    """A model on its own inputs, made of the batches beforehand."""

    model: torch.nn.Module

    def seen(self) -> list[Arrays]:
        """Return the batches, read back from the model's inputs."""

    def train(self) -> float:
        """Take one optimiser step a batch; return the mean loss as the peer counts it."""


class DeepCTR:
    """deepctr-torch; its `fit` wants one array of one width, so its inner loop stands here."""

    def __init__(
        self, batches: list[Arrays], tables: dict[str, int], with_user: bool, fused: bool, rate: float
    ) -> None:
        silent: Any = types.ModuleType("deepctr_torch.utils")  # which holds its question for a newer version, no more
        silent.check_version = lambda version: None
        sys.modules[silent.__name__] = silent
        from deepctr_torch.inputs import SparseFeat, VarLenSparseFeat, build_input_features
        from deepctr_torch.models import DIEN

        rows = {"item": tables["items"], "category": tables["categories"]}
        history = {"hist_item": "history_items", "hist_category": "history_categories"}
        history |= {"neg_hist_item": "negative_items", "neg_hist_category": "negative_categories"}

        def columns(length: int) -> list[Any]:
            made = [SparseFeat("user", tables["users"], EMBEDDING)] if with_user else []
            made += [SparseFeat(name, count, EMBEDDING) for name, count in rows.items()]
            for name in history:
                table = name.rpartition("_")[2]
                feature = SparseFeat(name, rows[table], EMBEDDING, embedding_name=table)
                counted = None if name.startswith("neg") else "length"
                made.append(VarLenSparseFeat(feature, length, length_name=counted))
            return made

        longest = max(batch["history_items"].shape[1] for batch in batches)
        self.model = DIEN(
            columns(longest),
            ["item", "category"],
            gru_type="AUGRU",
            use_negsampling=True,
            alpha=1.0,
            dnn_hidden_units=TOP,
            dnn_activation="prelu",
            att_hidden_units=ATTENTION,
            att_activation="sigmoid",
            att_weight_normalization=True,
            l2_reg_embedding=0,
        )
        adam = torch.optim.Adam(self.model.parameters(), lr=rate, fused=True if fused else None)
        self.model.compile(adam, "binary_crossentropy")
        self.names = {"user": "user", "item": "item", "category": "category", "length": "lengths", **history}
        self.indices = [build_input_features(columns(batch["history_items"].shape[1])) for batch in batches]
        self.inputs = [
            torch.from_numpy(np.hstack([_column(batch[self.names[name]]) for name in index])).float()
            for batch, index in zip(batches, self.indices, strict=True)
        ]
        self.labels = [torch.from_numpy(batch["label"]) for batch in batches]
        self.users = [batch["user"] for batch in batches]

    def seen(self) -> list[Arrays]:
        """Return the batches, read back from the model's inputs; users stand by where the model takes none."""
        found = []
        for x, index, label, user in zip(self.inputs, self.indices, self.labels, self.users, strict=True):
            batch = {"user": user, "label": label.numpy()}
            for name, (first, last) in index.items():
                values = x[:, first:last].long().numpy()
                batch[self.names[name]] = values if self.names[name] in OF_BEHAVIOUR else values[:, 0]
            found.append(batch)
        return found

    def train(self) -> float:
        """Take one step a batch, as `fit` does."""
        model, losses = self.model.train(), 0.0
        for x, y, index in zip(self.inputs, self.labels, self.indices, strict=True):
            model.feature_index = index
            predicted = model(x).squeeze(-1)
            model.optim.zero_grad()
            loss = model.loss_func(predicted, y, reduction="sum")
            whole = loss + model.get_regularization_loss() + model.aux_loss
            losses += loss.item() / len(y)
            whole.backward()
            model.optim.step()
        return losses / len(self.inputs)


class Rechub:
    """torch-rechub, by its own trainer's loop."""

    def __init__(
        self, batches: list[Arrays], tables: dict[str, int], with_user: bool, fused: bool, rate: float
    ) -> None:
        from torch_rechub.basic.features import SequenceFeature, SparseFeature
        from torch_rechub.models.ranking import DIEN
        from torch_rechub.trainers import CTRTrainer

        rows = {"item": tables["items"], "category": tables["categories"]}
        plural = {"item": "items", "category": "categories"}

        def sequences(kind: str) -> list[Any]:
            return [
                SequenceFeature(f"{kind}_{plural[name]}", count, EMBEDDING, "concat", shared_with=name, padding_idx=0)
                for name, count in rows.items()
            ]

        self.model = DIEN(
            # without any context field it fails, so a field of one row stands for the user in the paper's variant
            features=[SparseFeature("user", tables["users"] if with_user else 1, EMBEDDING)],
            history_features=sequences("history"),
            neg_history_features=sequences("negative"),
            target_features=[SparseFeature(name, count, EMBEDDING, padding_idx=0) for name, count in rows.items()],
            mlp_params={"dims": list(TOP)},
            alpha=1.0,
        )
        parameters = {"lr": rate, "weight_decay": 0} | ({"fused": True} if fused else {})
        self.trainer = CTRTrainer(self.model, optimizer_params=parameters, loss_mode=False)
        self.with_user = with_user
        self.batches = batches
        self.inputs = []
        for batch in batches:
            x = {name: torch.from_numpy(values) for name, values in batch.items() if name not in ("label", "lengths")}
            x["user"] = x["user"] if with_user else torch.zeros_like(x["user"])
            self.inputs.append((x, torch.from_numpy(batch["label"])))

    def seen(self) -> list[Arrays]:
        """Return the batches, read back from the model's inputs; it finds lengths by itself, item 0 being padding."""
        found = []
        for (x, label), batch in zip(self.inputs, self.batches, strict=True):
            values = {name: tensor.numpy() for name, tensor in x.items()}
            values |= {"label": label.numpy(), "lengths": (values["history_items"] != 0).sum(axis=1)}
            found.append(values if self.with_user else values | {"user": batch["user"]})
        return found

    def train(self) -> float:
        """Take one step a batch."""
        return float(self.trainer.train_one_epoch(self.inputs))


PEERS: dict[str, type[DeepCTR] | type[Rechub]] = {"deepctr-torch": DeepCTR, "torch-rechub": Rechub}


def _column(values: Any) -> Any:
    """(B,) to (B, 1), (B, T) as it is."""
    return values[:, None] if values.ndim == 1 else values


def main(name: str, path: str, length: str, adam: str, threads: str, variant: str, rate: str) -> None:
    """Answer lines until the input ends; what the peer itself prints goes to the error stream."""
    answers, sys.stdout = sys.stdout, sys.stderr
    warnings.filterwarnings("ignore")

    def answer(**fields: Any) -> None:
        print(json.dumps(fields), file=answers, flush=True)

    try:
        torch.set_num_threads(int(threads))
        torch.manual_seed(0)
        batches, tables = read_batches(Path(path), int(length) or None)
        peer: Peer = PEERS[name](batches, tables, variant == "official", adam == "fused", float(rate))
        answer(
            version=importlib.metadata.version(name),
            torch=str(torch.__version__),
            parameters=sum(parameter.numel() for parameter in peer.model.parameters()),
            sha256=checksum(peer.seen()),
        )
        for _ in sys.stdin:
            wall, cpu = time.perf_counter(), time.process_time()
            loss = peer.train()
            answer(seconds={"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}, loss=loss)
    except Exception as error:  # the parent shows it, and goes on with the other peers
        answer(error=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
