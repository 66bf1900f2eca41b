"""Probes as tables: the rules of one data set and protocol, and all protocols side by side."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmark.analysis.probes import Probes, file_name, is_of, measure, read_probes
from benchmark.report.render import Section, Table, fixed
from datamodules.errors import UserError
from datamodules.files.atomic import write_atomically
from datamodules.samples import Samples


def probe_table(measured: Probes) -> Table:
    """Return the rules by falling AUC; the best is in bold."""
    ordered = sorted(measured.probes, key=lambda probe: -probe.auc)
    rows = tuple(
        (
            f"{probe.title}: {probe.label}",
            str(probe.parameters),
            f"{probe.auc:.4f}",
            f"{probe.low:.4f} to {probe.high:.4f}",
        )
        for probe in ordered
    )
    section = Section(
        "", ("rule: the candidate is ...", "parameters", "AUC", "95 % interval"), rows, frozenset({(0, 2)})
    )
    notes = (
        f"AUC on the samples of the {measured.test_users:,} test users of the protocol, with its 95 % interval over "
        "test users (a rule has no seeds). 0.5 is chance; below it the reverse of the rule is better than chance by as "
        "much.",
    )
    lines = [tuple(asdict(ordered[0]))] + [tuple(str(value) for value in asdict(probe).values()) for probe in ordered]
    return Table(f"Probes on {measured.dataset}, protocol {measured.protocol}", (section,), notes, tuple(lines))


def overview(measured: Sequence[Probes]) -> Table:
    """Return the AUC of every rule, a section a data set, a column a protocol; the best of a column is in bold."""
    sections = []
    for dataset in dict.fromkeys(one.dataset for one in measured):
        columns = [one for one in measured if one.dataset == dataset]
        aucs = [{probe.name: probe.auc for probe in one.probes} for one in columns]
        rules = {probe.name: probe for one in reversed(columns) for probe in one.probes}  # the first column's count
        ordered = sorted(rules.values(), key=lambda probe: -probe.auc)
        names = [probe.name for probe in ordered]
        rows = tuple((f"{p.title}: {p.label}", *(fixed(auc.get(p.name), 4) for auc in aucs)) for p in ordered)
        bold = frozenset((names.index(one.best.name), j) for j, one in enumerate(columns, start=1))
        header = ("rule: the candidate is ...", *(one.protocol for one in columns))
        sections.append(Section(dataset, header, rows, bold))
    note = "AUC on the protocol's test users; 0.5 is chance, below it the reverse of the rule is better than chance."
    return Table("Probes: what rules reach without a model", tuple(sections), (note,), ())


def store_probes(dataset: str, samples: Samples, out: Path) -> Probes:
    """Return the probes of these samples from `out`, measured and written there first where it has none of them."""
    try:
        found = read_probes([out], dataset, samples.protocol.name)
    except UserError:
        found = None  # damaged: measured again
    if found is None or not is_of(found, samples):
        found = measure(dataset, samples)
        write_probes(found, out)
    return found


def write_probes(measured: Probes, out: Path) -> tuple[Path, Path]:
    """Write out/probes-<data>-<protocol>.json and .md, and return their paths."""
    path = out / file_name(measured.dataset, measured.protocol)
    write_atomically(path, (json.dumps(asdict(measured), indent=1, ensure_ascii=False) + "\n").encode())
    write_atomically(path.with_suffix(".md"), probe_table(measured).markdown().encode())
    return path, path.with_suffix(".md")
