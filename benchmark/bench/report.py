"""The measurements as tables for people; bench.json holds the same figures unrounded."""

from collections.abc import Callable, Mapping
from typing import Any

from benchmark.bench.kernels import BATCH, HIDDEN
from benchmark.bench.timing import BUSY
from benchmark.report.render import Section, Table
from benchmark.runs.config import EVALUATE_EVERY

Line = Mapping[str, Any]
Columns = dict[str, Callable[[Line], str]]

NOTES = (
    "Medians of repeated measurements [quartiles]; both sides of a ratio took turns, it is the median of their rounds.",
    "floor: the matrix products alone, forward and backward, of real behaviours only, run in the same rounds at the "
    "sizes that torch's counter sees. Look-ups, element-wise functions and Adam come on top.",
)
NOTE_PEERS = (
    "padding fixed, Adam own: the peer's own way; padding batch: as our batches, to each one's longest history; Adam "
    "fused: torch's fused one, as ours. The models differ where a peer has no setting: see bench/peers/driver.py."
)
NOTE_CPU = "Times are processor time, not elapsed time."


def as_table(result: Line) -> Table:
    """Return the tables of a bench.json."""
    parts, machine, load = result["parts"], result["machine"], result["load_average"]
    sections = [
        Section(heading, tuple(columns), tuple(tuple(cell(line) for cell in columns.values()) for line in parts[name]))
        for name, (heading, columns) in SECTIONS.items()
        if name in parts
    ]
    notes = list(NOTES)
    if "peers" in parts:
        notes.append(NOTE_PEERS)
    if result["settings"]["clock"] == "cpu":
        notes.append(NOTE_CPU)
    notes.append(
        f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} thread(s), torch {machine['torch']}; "
        f"load average {load['before'][0]} before, {load['after'][0]} after; {result['settings']['repeats']} repeats."
    )
    failed = [line for line in parts.get("peers", []) if line["error"]]
    notes += [
        f"{line['peer']}, {line['padding']}, {line['adam']}, {line['workload']}: failed: {line['error']}"
        for line in failed
    ]
    if load["busy"]:
        notes.append(f"WARNING: the machine was busy (load average not below {BUSY}): read times as upper bounds.")
    quick = " (quick: tiny sizes, no figures to quote)" if result["settings"]["quick"] else ""
    return Table(f"Speed{quick}", tuple(sections), tuple(notes), ())


def _spread(key: str, digits: int = 2) -> Callable[[Line], str]:
    """A median with its quartiles; empty where there is none."""

    def cell(line: Line) -> str:
        median, lower, upper = (_median(key, digits, of=name)(line) for name in ("median", "lower", "upper"))
        return f"{median} [{lower}, {upper}]" if median else ""

    return cell


def _median(key: str, digits: int = 2, factor: float = 1, unit: str = "", of: str = "median") -> Callable[[Line], str]:
    """A median, or a plain number; empty where there is none."""

    def cell(line: Line) -> str:
        value = line[key]
        if value is None:
            return ""
        return f"{(value[of] if isinstance(value, Mapping) else value) * factor:,.{digits}f}{unit}"

    return cell


def _text(key: str) -> Callable[[Line], str]:
    return lambda line: "" if line[key] is None else str(line[key])


KERNELS: Columns = {
    "gate": _text("gate"),
    "T": _text("steps"),
    "ours, ms": _spread("ours_ms"),
    "plain loop, ms": _median("loop_ms"),
    "loop / ours": _spread("loop_over_ours"),
    "floor, ms": _median("floor_ms"),
    "ours / floor": _median("ours_over_floor", 1),
    "Gflop/s of the floor": _median("matrix_gflops", 0),
    "our layer, ms": _median("layer_ms"),
    "nn.GRU, ms": _median("nn_gru_ms"),
    "nn.GRU / our layer": _spread("nn_gru_over_layer"),
}
TRAIN: Columns = {
    "samples": _text("workload"),
    "model": _text("model"),
    "step, ms": _spread("step_ms"),
    "with batch making, ms": _median("step_with_batch_ms"),
    "samples/s": _median("samples_per_second", 0),
    "floor, ms": _median("floor_ms"),
    "step / floor": _median("step_over_floor", 1),
    "Mflop a step": _median("operations_a_step", 0, 1e-6),
    "evaluation, s": _median("evaluation_seconds"),
    "its share": _median("evaluation_share", 0, 100, " %"),
}
PHASES: Columns = {
    "samples": _text("workload"),
    "model": _text("model"),
    "step, ms": _spread("step_ms"),
    "look-ups": _median("look_up_ms"),
    "recurrences": _median("recurrence_ms"),
    "attention, auxiliary loss": _median("mlp_ms"),
    "Adam": _median("adam_ms"),
    "the rest": _median("rest_ms"),
}
BATCHES: Columns = {
    "samples": _text("workload"),
    "a batch, ms": _spread("batch_ms", 3),
    "samples/s": _median("samples_per_second", 0),
}
PREPARE: Columns = {
    "reviews": _median("reviews", 0),
    "prepare, s": _spread("prepare_seconds"),
    "reviews/s": _median("reviews_per_second", 0),
    "decompress, s": _median("decompress_seconds"),
    "with": _text("decompressed_by"),
    "prepare / decompress": _spread("prepare_over_decompress"),
    "peak, MB": _median("peak_mb", 0),
    "of it before, MB": _median("peak_before_mb", 0),
    "files, MB": _median("compressed_mb", 1),
    "unpacked, MB": _median("raw_mb", 1),
}
WORKLOADS: Columns = {
    "samples": _text("name"),
    "users": _median("users", 0),
    "items": _median("items", 0),
    "categories": _median("categories", 0),
    "training": _median("training_samples", 0),
    "test": _median("test_samples", 0),
    "mean history": _text("mean_history"),
    "longest": _text("longest_history"),
    "batches a measurement": _text("batches_a_measurement"),
    "fields": _text("fields"),
}
PEERS: Columns = {
    "samples": _text("workload"),
    "fields of both": _text("fields"),
    "peer": _text("peer"),
    "padding": _text("padding"),
    "Adam": _text("adam"),
    "peer, ms a step": _spread("peer_ms"),
    "peer, samples/s": _median("peer_samples_per_second", 0),
    "ours, ms a step": _spread("ours_ms"),
    "ours, samples/s": _median("ours_samples_per_second", 0),
    "peer / ours": _spread("peer_over_ours"),
    "floor, ms": _median("floor_ms"),
    "same samples": lambda line: "yes" if line["same_samples"] else "NO",
}
SECTIONS: dict[str, tuple[str, Columns]] = {
    "workloads": ("Samples, with the rows of the tables", WORKLOADS),
    "kernels": (f"Recurrences alone, forward and backward, B = {BATCH}, H = {HIDDEN}, full histories", KERNELS),
    "train": (
        f"One optimiser step; evaluation: one pass over the test split, its share at one every {EVALUATE_EVERY} steps",
        TRAIN,
    ),
    "phases": ("Where a step's time goes, ms; the rest: the top MLP, other operations of torch, autograd", PHASES),
    "batches": ("Making training batches", BATCHES),
    "prepare": ("Preparing generated raw files in the Amazon layout", PREPARE),
    "peers": ("DIEN as others built it, one optimiser step on the same batches", PEERS),
}
