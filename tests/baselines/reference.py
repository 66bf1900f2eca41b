"""All nine rows in plain NumPy, sample by sample and step by step: what the models are held against.

`official` is written as the released TensorFlow code has it: GRUCell with a keep gate, a softmax over two outputs,
means over padded places. `paper` is written as the equations are printed. Nothing is shared with the models but the
names of their weights, `w`: state_dict as float64 arrays. A batch `b` is `Batch.as_dict` with arrays for tensors; every
target gets a copy of its history, and everything is computed for it alone.
"""

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Weights = dict[str, Floats]
Fields = dict[str, NDArray[np.int64]]
WITHOUT_ATTENTION = ("base-model", "wide-deep", "pnn")


def sigmoid(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x))


def softmax(x: Floats) -> Floats:
    return np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)


def linear(w: Weights, name: str, x: Floats) -> Floats:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def prelu(alpha: Floats, x: Floats) -> Floats:
    return np.maximum(x, 0) + alpha * np.minimum(x, 0)


def dice(alpha: Floats, x: Floats) -> Floats:
    """DIN, eq. 9, on x (B, n) with the moments of the batch, as the released dice()."""
    mean = x.mean(axis=0)
    deviation = np.sqrt((np.square(x - mean) + 1e-9).mean(axis=0))
    p = sigmoid((x - mean) / (deviation + 1e-9))
    return alpha * (1 - p) * x + p * x


def normalise(w: Weights, name: str, x: Floats) -> Floats:
    """tf.layers.batch_normalization with the moving mean 0 and variance 1 that it starts with, epsilon 0.001."""
    return w[f"{name}.gamma"] * (x - 0.0) / np.sqrt(1.0 + 0.001) + w[f"{name}.beta"]


def top(w: Weights, x: Floats, official: bool, with_dice: bool, name: str = "top.layers") -> Floats:
    """Outputs (B, 2) or, in the paper, (B, 1) of the MLP 200-80 on x (B, n)."""
    x = normalise(w, f"{name}.0", x) if official else x
    for layer in (1, 3):
        x = linear(w, f"{name}.{layer}", x)
        x = dice(w[f"{name}.{layer + 1}.alpha"], x) if with_dice else prelu(w[f"{name}.{layer + 1}.weight"], x)
    return linear(w, f"{name}.5", x)


def tensorflow_cell(w: Weights, name: str, x: Floats, h: Floats, a: float | None = None, gate: str = "gru") -> Floats:
    """One step of TensorFlow's GRUCell, or of the released QAAttGRUCell (agru) and VecAttGRUCell (augru).

    The models keep the update gate, TensorFlow its complement, so weights of that gate change their sign.
    """
    size = len(h)
    of_x, of_h, bias = w[f"{name}.input_weight"].T, w[f"{name}.state_weight"], w[f"{name}.bias"]
    kernel = np.concatenate([of_x, of_h])  # (inputs + H, 3H): update, reset, candidate
    r = sigmoid(np.concatenate([x, h]) @ kernel[:, size : 2 * size] + bias[size : 2 * size])
    u = sigmoid(-(np.concatenate([x, h]) @ kernel[:, :size] + bias[:size]))
    c = np.tanh(np.concatenate([x, r * h]) @ kernel[:, 2 * size :] + bias[2 * size :])
    if gate == "agru":
        return (1 - a) * h + a * c
    if gate == "augru":
        u = (1 - a) * u
    return u * h + (1 - u) * c


def paper_cell(w: Weights, name: str, x: Floats, h: Floats, a: float | None = None, gate: str = "gru") -> Floats:
    """One step by eq. 3 to 6, eq. 11 (agru), or eq. 12 and 13 (augru)."""
    w_u, w_r, w_h = np.split(w[f"{name}.input_weight"], 3)
    u_u, u_r, u_h = (part.T for part in np.split(w[f"{name}.state_weight"], 3, axis=1))
    b_u, b_r, b_h = np.split(w[f"{name}.bias"], 3)
    u = sigmoid(w_u @ x + u_u @ h + b_u)
    r = sigmoid(w_r @ x + u_r @ h + b_r)
    candidate = np.tanh(w_h @ x + r * (u_h @ h) + b_h)
    if gate == "agru":
        return (1 - a) * h + a * candidate
    if gate == "augru":
        u = a * u
    return (1 - u) * h + u * candidate


def states(
    w: Weights, name: str, xs: Floats, official: bool, attention: Floats | None = None, gate: str = "gru"
) -> Floats:
    """States (n, H) of one sample's inputs (n, I)."""
    cell = tensorflow_cell if official else paper_cell
    h = np.zeros(len(w[f"{name}.state_weight"]))
    found = np.zeros((len(xs), len(h)))
    for t, x in enumerate(xs):
        h = found[t] = cell(w, name, x, h, None if attention is None else attention[t], gate)
    return found


def mlp_scores(w: Weights, name: str, q: Floats, ks: Floats) -> Floats:
    """Attention scores (n,) of the released MLP 80-40-1 for a query and keys (n, K)."""
    if f"{name}.project.0.weight" in w:
        q = prelu(w[f"{name}.project.1.weight"], linear(w, f"{name}.project.0", q))
    found = np.zeros(len(ks))
    for t, k in enumerate(ks):
        hidden = sigmoid(linear(w, f"{name}.first", np.concatenate([q, k, q - k, q * k])))
        found[t] = linear(w, f"{name}.last", sigmoid(linear(w, f"{name}.second", hidden)))[0]
    return found


def attention(row: str, w: Weights, q: Floats, ks: Floats, official: bool) -> Floats:
    """Weights (n,) of one sample's keys (n, K)."""
    if not len(ks):
        return np.zeros(0)
    if row == "din" and not official:
        return mlp_scores(w, "attention", q, ks)  # DIN, eq. 3: no softmax
    if official:
        return softmax(mlp_scores(w, "attention", q, ks))
    return softmax(np.array([k @ w["attention.weight"] @ q for k in ks]))  # eq. 9


def embed(w: Weights, fields: Fields, names: list[str]) -> Floats:
    """Rows (..., numbers) of the fields `names` side by side; (..., 0) of no name."""
    nothing = np.zeros((*next(iter(fields.values())).shape, 0))
    return np.concatenate([nothing, *(w[f"embedding.tables.{name}.weight"][fields[name]] for name in names)], axis=-1)


def interest(row: str, w: Weights, target: Floats, history: Floats, official: bool) -> tuple[Floats, Floats]:
    """What one sample's behaviours (n, K) say of its target, and the extractor's states h_t (n, H) on the way."""
    if row == "din":
        return attention(row, w, target, history, official) @ history, history
    extracted = states(w, "first" if row == "gru-attention" else "extractor", history, official)
    if row == "gru-attention":
        second = states(w, "second", extracted, official)
        return attention(row, w, target, second, official) @ second, extracted
    a = attention(row, w, target, extracted, official)
    if row == "aigru":  # eq. 10
        evolved = states(w, "evolver", a[:, None] * extracted, official)
    else:
        evolved = states(w, "evolver", extracted, official, a, "agru" if row == "agru" else "augru")
    return (evolved[-1] if len(evolved) else np.zeros(len(w["evolver.state_weight"]))), extracted


def wide(w: Weights, b: dict[str, Any], target: Floats, total: Floats, official: bool) -> Floats:
    """What Wide & Deep adds to the outputs: (B, 2), or (B, 1) from crossed categories."""
    if official:
        return linear(w, "wide", np.concatenate([target, total, target * total], axis=1))
    categories, crosses = len(w["wide.linear.category.weight"]), len(w["wide.cross.weight"])
    found = np.zeros((len(target), 1))
    for i, u in enumerate(b["history_of"]):
        for name, numbers in b["target"].items():
            found[i] += w[f"wide.linear.{name}.weight"][numbers[i]]
        for category in b["history"]["category"][u, : b["lengths"][u]]:
            found[i] += w["wide.cross.weight"][(category * categories + b["target"]["category"][i]) % crosses]
    return found


def products(target: Floats, total: Floats, count: int) -> Floats:
    """PNN, eq. 8: the inner product of each pair of the target's and the history's `count` fields."""
    fields = [*np.split(target, count, axis=1), *np.split(total, count, axis=1)]
    return np.stack([(one * other).sum(axis=1) for one, other in combinations(fields, 2)], axis=1)


def clicked(row: str, w: Weights, b: dict[str, Any], official: bool) -> tuple[Floats, list[Floats]]:
    """Probabilities (B, 2) of a click and of none, and each target's h_t."""
    owner, names = b["history_of"], list(b["history"])
    target = embed(w, b["target"], names)
    padded = embed(w, b["history"], names)[owner]
    histories = [h[:n] for h, n in zip(padded, b["lengths"][owner], strict=True)]
    total = padded.sum(axis=1) if official else np.stack([h.sum(axis=0) for h in histories])
    user = embed(w, b["user"], [name for name in b["user"] if official or name != "user"])[owner]
    own = embed(w, b["target"], [name for name in b["target"] if name not in names])
    moment = embed(w, b["context"], list(b["context"])) if b["context"] else target[:, :0]
    inputs, extracted = [user, target, own, moment], []
    if row in WITHOUT_ATTENTION:
        inputs.append(total)
        if row == "pnn":
            inputs.append(target * total if official else products(target, total, len(names)))
    else:
        found = [interest(row, w, *one, official) for one in zip(target, histories, strict=True)]
        extracted = [h for _, h in found]
        inputs += [total, target * total] if official else []
        inputs.append(np.stack([of_target for of_target, _ in found]))
    outputs = top(w, np.concatenate(inputs, axis=1), official, official and row not in WITHOUT_ATTENTION)
    if row == "wide-deep":
        outputs = outputs + wide(w, b, target, total, official)
    p = softmax(outputs) if official else sigmoid(np.concatenate([outputs, -outputs], axis=1))
    return p, extracted


def target_loss(p: Floats, label: Floats, official: bool) -> float:
    """Released code: mean over both columns of -log p * [y, 1 - y]. Paper: eq. 2, a mean over samples."""
    terms = -np.log(p) * np.stack([label, 1 - label], axis=1)
    return float(terms.mean() if official else terms.sum(axis=1).mean())


def auxiliary_loss(
    w: Weights, hs: list[Floats], positives: list[Floats], negatives: list[Floats], head: str, mean: str, steps: int
) -> float:
    """L_aux of targets' h_t (n, H) against their next behaviours and own negatives (T, K), padded to `steps`."""

    def p(h: Floats, e: Floats) -> Floats:
        """Probabilities (2,) that the behaviour e comes next, and that it does not."""
        if head == "inner-product":  # eq. 7
            return sigmoid(np.array([h @ e, -h @ e]))
        x = normalise(w, "auxiliary.normalise", np.concatenate([h, e]))
        hidden = sigmoid(linear(w, "auxiliary.second", sigmoid(linear(w, "auxiliary.first", x))))
        return softmax(linear(w, "auxiliary.last", hidden))

    losses = np.zeros((len(hs), max(steps - 1, 0)))
    for i, h in enumerate(hs):
        for t in range(len(h) - 1):
            losses[i, t] = -np.log(p(h[t], positives[i][t + 1])[0]) - np.log(p(h[t], negatives[i][t + 1])[1])
    if not losses.any():
        return 0.0
    if mean == "behaviours":
        return float(losses[losses != 0].mean())
    return float(losses.mean() if mean == "places" else losses.sum(axis=1).mean())


def whole_loss(
    row: str, w: Weights, b: dict[str, Any], official: bool, alpha: float, head: str, mean: str
) -> tuple[float, float]:
    """L = L_target + alpha L_aux (eq. 8), and L_aux; alpha 0 is a row without the auxiliary loss."""
    p, extracted = clicked(row, w, b, official)
    loss = target_loss(p, b["label"], official)
    if not alpha:
        return loss, 0.0
    names = list(b["history"])
    positives = embed(w, b["history"], names)[b["history_of"]]
    negatives = embed(w, b["negatives"], names)
    auxiliary = auxiliary_loss(w, extracted, list(positives), list(negatives), head, mean, positives.shape[1])
    return loss + alpha * auxiliary, auxiliary
