"""The leaderboard: committed records, and the tables, figures and pages made from them and from nothing else.

leaderboards/results/ holds record, curves and ranks of predictions of every run (benchmark/records/results.py). Ranks
let anybody recompute the AUC and test two rows against each other, and name neither users nor items.
leaderboards/probes/ holds what simple rules reach on the same test samples.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from benchmark.analysis.probes import CATALOGUE_RULE, ORACLE, Probes, file_name, read_probes
from benchmark.bench.serving.rocket import ROCKET, rocket_table
from benchmark.leaderboard.ablations import base_of, option_records, option_tables
from benchmark.leaderboard.claims import claims_page
from benchmark.leaderboard.findings import findings
from benchmark.leaderboard.marks import fill, marks_of
from benchmark.leaderboard.site import read_figures, write_site
from benchmark.leaderboard.site_data import document
from benchmark.leaderboard.store import GALLERY
from benchmark.leaderboard.study import write_study
from benchmark.leaderboard.study_runs import finder
from benchmark.records import paper
from benchmark.records.curves import Curves
from benchmark.records.record import Record
from benchmark.records.results import RESULTS, curves_of, read_board, reading_once
from benchmark.report.growth import GROWTH, figure_growth, growth_table, sizes_of
from benchmark.report.learning_curves import figure2, figure_auc
from benchmark.report.probe_tables import overview
from benchmark.report.render import escape_markdown, fixed, signed, write_table
from benchmark.report.results import fitting, results_of
from benchmark.report.table_sections import Shown
from benchmark.report.tables import table_of
from datamodules.errors import UserError
from datamodules.files.atomic import write_atomically
from datamodules.protocol import PROTOCOLS


@reading_once()
def build(board: Path) -> list[Path]:
    """Write every table and figure of the board, and its index, from its records; return their paths."""
    records = read_board(board)
    if not records:
        page = write_site(board, document([], []))[0]
        raise UserError(
            f"{board / RESULTS} holds no record; {page} says how to make one: dien-bench leaderboard add runs"
        )
    written: list[Path] = []
    shown: list[Shown] = []
    options: list[Shown] = []
    parts: dict[str, str] = {}
    index = [
        "# Leaderboard",
        "",
        "Made by `make leaderboard` from the records in `results/` and the rules in `probes/`; not to be edited.",
        "`dien-bench leaderboard verify` recomputes every AUC. Printed figures one by one: [claims](claims.md).",
        *(["Why the paper's AUC is not reached: the [study](study.md)."] if (board / "study.md").is_file() else []),
        "With seeds, settings and learning curves of every row: open [`site/index.html`](site/index.html).",
        "",
    ]
    for protocol, variant in sorted({(record.protocol, record.variant) for record in records}, key=_order):
        mine = [record for record in records if (record.protocol, record.variant) == (protocol, variant)]
        datasets = sorted({record.dataset for record in mine}, key=_dataset_order)
        own = sorted({record.model for record in mine if base_of(record.model) not in (*paper.LABELS, ROCKET)})
        stem = f"{protocol}-{variant}"
        probes = _probes(board, datasets, protocol)
        index += [f"## Protocol {escape_markdown(protocol)}, variant {variant}", ""]
        for number in paper.tables_of(protocol):
            models = [
                row.model for row in paper.TABLES[number] if any(record.model == row.model for record in mine)
            ] + own
            if len(models) < 2:
                continue
            results = results_of(mine, number, datasets, protocol, variant, models, probes)
            made = table_of(results, number, protocol, variant)
            shown.append(Shown(number, protocol, variant, results, made.notes))
            paths = write_table(made, board, f"table{number}-{stem}")
            written += paths
            index += [paths[0].read_text("utf-8").replace("## ", "#### ").replace("##### ", "#### "), ""]
            index += [f"As [CSV]({quote(paths[1].name)}).", ""]
            if (number, stem) == ("4", "arxiv-v1-official"):
                short = table_of(results, number, protocol, variant, short=True).markdown()
                parts["table 4"] = short.replace("## ", "### ", 1).replace("\n### ", "\n#### ")
        options += option_tables(mine, protocol, variant, datasets, probes)
        written += _figures(mine, datasets, board, stem, index)
    index += _growth(records, board, written)
    index += _rocket(records, board, written)
    index += _evolution(board)
    measured = _measured_probes(board, records)
    index += [overview(measured).markdown().replace("### ", "#### ")] if measured else []
    write_atomically(board / "claims.md", claims_page(records, board).encode())
    by_place = {(found.dataset, found.protocol): found for found in measured}
    parts |= {"catalogue rule": _catalogue_rule(measured), "a run of the released code": _beside_released(shown)}
    parts["findings"] = findings(shown, by_place, finder(records))
    _fill_pages(board, parts)
    written += write_study(records, by_place, [*shown, *options], board)
    write_atomically(board / "README.md", "\n".join(index).encode())
    rows = [record for record in records if record.model == base_of(record.model)]
    changed = option_records(records)
    site = write_site(board, document(rows, measured), document(changed, []) if changed else None)
    return [*written, board / "claims.md", board / "README.md", *site]


def _probes(board: Path, datasets: Sequence[str], protocol: str) -> dict[str, Probes]:
    found = {name: read_probes([board / "probes"], name, protocol) for name in datasets}
    return {name: probes for name, probes in found.items() if probes is not None}


def _measured_probes(board: Path, records: Sequence[Record]) -> list[Probes]:
    """Return all probes of the board, by data set and protocol, but those of other samples than its runs."""
    measured = []
    for protocol in PROTOCOLS:
        there = _probes(board, _probed(board, protocol), protocol)
        mine = [record for record in records if record.protocol == protocol]
        fits = (fitting(there, dataset, [r for r in mine if r.dataset == dataset]) for dataset in there)
        measured += [probes for probes in fits if probes]
    return sorted(measured, key=lambda probes: _dataset_order(probes.dataset))


def _probed(board: Path, protocol: str) -> list[str]:
    """Return the data sets whose probes under a protocol the board has."""
    before, behind = file_name("\0", protocol).split("\0")
    names = [path.name[len(before) : -len(behind)] for path in (board / "probes").glob(f"{before}*{behind}")]
    return sorted(names, key=_dataset_order)


def _fill_pages(board: Path, parts: Mapping[str, str]) -> None:
    """Put what a board shows in the README and docs/ beside it, between marks that name the board."""
    named = {f"{name} of {board.name}": part for name, part in parts.items()}
    for page in (board.parent / "README.md", *sorted((board.parent / "docs").glob("*.md"))):
        if page.is_file() and set(named) & set(marks_of(page.read_text("utf-8"))):
            fill(page, named, other_marks=True)


def _catalogue_rule(measured: Sequence[Probes]) -> str:
    """AUC of the catalogue rule on each data set, under every protocol where it was measured."""
    measured = [found for found in measured if found.named(CATALOGUE_RULE)]  # a log of impressions has no catalogue
    protocols = [name for name in PROTOCOLS if any(found.protocol == name for found in measured)]
    lines = [["data set", *(f"`{name}`" for name in protocols)], ["---"] + ["---:"] * len(protocols)]
    for dataset in dict.fromkeys(found.dataset for found in measured):
        rules = [(f.protocol, f.named(CATALOGUE_RULE)) for f in measured if f.dataset == dataset]
        aucs = {protocol: rule.auc for protocol, rule in rules if rule}
        lines.append([escape_markdown(dataset), *(fixed(aucs.get(protocol), 3) for protocol in protocols)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _beside_released(shown: Sequence[Shown]) -> str:
    """Our AUC on Sports in catalogue order beside that of a run of the authors' released code there."""
    results = [r for made in shown if (made.protocol, made.variant) == ("arxiv-v1", "official") for r in made.results]
    rows = {row.model: row for result in results if result.dataset == "sports" for row in result.rows}
    lines = ["| model | released code, one run | ours (seeds) | ours − released |", "| --- | ---: | ---: | ---: |"]
    for model, auc in paper.RELEASED_ON_SPORTS.items():
        if (row := rows.get(model)) and row.mean is not None:
            cells = [row.label, fixed(auc, 4), f"{row.mean:.4f} ({row.seeds})", signed(row.mean, auc, 4)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _figures(records: Sequence[Record], datasets: list[str], board: Path, stem: str, index: list[str]) -> list[Path]:
    curves: dict[str, dict[str, list[Curves]]] = {}
    for record in sorted(records, key=lambda record: (paper.order(record.model), record.seed)):
        base = base_of(record.model)
        if record.status == "failed" or base == ROCKET or record.model != base in paper.LABELS:
            continue  # no curve; a row with options has its curves on the page study-details.html
        curves.setdefault(record.dataset, {}).setdefault(record.model, []).append(curves_of(record))
    written: list[Path] = []
    datasets = [name for name in datasets if name in curves]
    with_auxiliary = {name: curves[name]["dien"] for name in datasets if "dien" in curves[name]}
    gallery = board / GALLERY
    if with_auxiliary:
        written += figure2(with_auxiliary, gallery / f"figure2-{stem}", formats=("svg",))
        index += [f"![Whole loss and auxiliary loss over steps]({GALLERY}/{quote(f'figure2-{stem}.svg')})", ""]
    for name in datasets:
        stem_of_set = f"auc-{name}-{stem}"
        written += figure_auc(curves[name], gallery / stem_of_set, dataset=f"{name}, {stem}", formats=("svg",))
        index += [f"![Test AUC over steps on {escape_markdown(name)}]({GALLERY}/{quote(stem_of_set)}.svg)", ""]
    return written


def _growth(records: Sequence[Record], board: Path, written: list[Path]) -> list[str]:
    """Write what the sizes of one market say, where the board has at least two; return its lines of the index."""
    sizes = sizes_of(records, GROWTH)
    if len(sizes) < 2:
        return []
    largest = [r for r in records if (r.dataset, r.protocol) == (sizes[-1].dataset, "next-day")]
    probes = fitting(_probes(board, [sizes[-1].dataset], "next-day"), sizes[-1].dataset, largest)
    oracle = probes and probes.named(ORACLE)
    paths = write_table(growth_table(sizes, oracle.auc if oracle else None), board, "growth")
    written += [*paths, *figure_growth(sizes, oracle.auc if oracle else None, board / GALLERY / "growth", ("svg",))]
    lines = [paths[0].read_text("utf-8").replace("### ", "#### "), ""]
    return [*lines, f"![AUC over the number of impressions that train]({GALLERY}/growth.svg)", ""]


def _rocket(records: Sequence[Record], board: Path, written: list[Path]) -> list[str]:
    """Write a table of Rocket Launching a protocol and variant, where there are runs; return its lines of the index."""
    lines: list[str] = []
    taught = [record for record in records if base_of(record.model) == ROCKET]
    for protocol, variant in sorted({(record.protocol, record.variant) for record in taught}, key=_order):
        mine = {record.dataset for record in taught if (record.protocol, record.variant) == (protocol, variant)}
        made = rocket_table(records, sorted(mine, key=_dataset_order), protocol, variant)
        paths = write_table(made, board, f"rocket-{protocol}-{variant}")
        written += paths
        lines += [paths[0].read_text("utf-8").replace("### ", "#### "), ""]
    return lines


def _evolution(board: Path) -> list[str]:
    """Return what the index says of the figures of evolving interests that lie on the board."""
    stems = [path.stem for path in sorted((board / GALLERY).glob("figure3-*.json"))]
    if not stems:
        return []
    lines = ["## Evolving interests", "", "Figure 3; to point at in [`site/figure3.html`](site/figure3.html).", ""]
    for stem, figure in zip(stems, read_figures(board), strict=True):
        lines += [
            f"![Evolving interests]({GALLERY}/{quote(stem)}.svg)",
            "",
            *(f"- {said}" for said in figure["caption"]),
            "",
        ]
        lines += ["Made by", "```", str(figure["command"]), "```", ""]
    return lines


def _order(key: tuple[str, str]) -> tuple[int, str]:
    protocol, variant = key
    return (list(PROTOCOLS).index(protocol) if protocol in PROTOCOLS else len(PROTOCOLS), variant)


def _dataset_order(name: str) -> tuple[int, str]:
    first = ("electronics", "books", "sports", "beauty")
    return (first.index(name) if name in first else len(first), name)
