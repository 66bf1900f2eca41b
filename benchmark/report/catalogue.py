"""What there is, for `dien-bench list`: models, data sets, protocols and metrics, a dict a line.

Everything is read from where it is defined: signatures of constructors, specs of data sets, fields of protocols.
"""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from benchmark.analysis.metrics import METRICS
from benchmark.records import paper
from datamodules.datasets import DATASETS, get_dataset, own_datasets
from datamodules.files.manifest import MANIFEST, load_manifest
from datamodules.protocol import PROTOCOLS
from datamodules.sources.impression_logs import IMPRESSIONS
from datamodules.sources.released.sets import FINISHED

Line = dict[str, Any]
COUNTS = ("interactions", "users", "items", "categories", "impressions")
NOTE_EMPTY = "An empty cell: not known before the download."


def models() -> list[Line]:
    """Return the models by name: label and tables of the paper, and options with their defaults."""
    from baselines import MODELS, installed, load  # here: torch takes seconds to import
    from baselines.spec import TRAINING
    from benchmark.tuning.space import options_of

    own = [name for name in installed() if name not in MODELS]
    lines = []
    for name in (*MODELS, *own):
        model = load(name)
        kind = model.func if isinstance(model, partial) else model
        lines.append(
            {
                "name": name,
                "label": paper.LABELS.get(name, ""),
                "tables": [number for number, rows in paper.TABLES.items() if name in (row.model for row in rows)],
                "code": f"{kind.__module__}:{kind.__name__}",
                "options": options_of(model),
                "training options": dict(TRAINING),
            }
        )
    return lines


def datasets(data_dir: Path) -> list[Line]:
    """Return the data sets by name, imported ones first; None stands for what is not known before the download."""
    lines = []
    for name in (*own_datasets(data_dir), *DATASETS, *FINISHED, *IMPRESSIONS):
        spec, folder = get_dataset(name, data_dir), data_dir / name
        prepared = (folder / MANIFEST).is_file()
        counts, size = dict.fromkeys(COUNTS) | spec.counts, spec.download_bytes
        if prepared:
            manifest = load_manifest(folder)
            counts |= {name: manifest["counts"].get(name) for name in COUNTS}
            size = sum(entry.get("bytes", 0) for entry in manifest["inputs"])
        lines.append(
            {
                "name": name,
                "title": spec.title,
                **counts,
                "steps": spec.steps or f"{spec.passes} pass{'es' * (spec.passes > 1)}",
                "download_bytes": size,
                "source": spec.source,
                "licence": spec.licence,
                "prepared": prepared,
            }
        )
    return lines


def protocols() -> list[Line]:
    """Return the protocols by name, with every field and the hash of the fields."""
    return [asdict(protocol) | {"hash": protocol.hash} for protocol in PROTOCOLS.values()]


def metrics() -> list[Line]:
    """Return the metrics: name, direction, meaning, and the fields of records that have them."""
    selections = "auc.last, auc.validation, auc.test: at the last step, best on validation users, on test users"
    return [
        {
            "name": metric.name,
            "better": metric.better,
            "meaning": metric.meaning,
            "of a run": selections if name == "auc" else f"{name}: at the reported step",
        }
        for name, metric in METRICS.items()
    ]
