"""The leaderboard: committed records, and the tables, figures and pages made from them and from nothing else.

leaderboards/records/ holds record.json, metrics.csv and ranks.parquet of every run in the layout of a run folder.
Ranks of its predictions let anybody recompute the AUC and test two rows against each other, and name neither users nor
items. leaderboards/probes/ holds what simple rules reach on the same test samples.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock

from benchmark import paper
from benchmark.claims import claims_page
from benchmark.figures import figure2, figure_auc
from benchmark.option_rows import base_of, option_tables
from benchmark.probes import Probes, file_name, overview, read_probes
from benchmark.records import Record, read_records, run_folder, write_atomically
from benchmark.render import escape_markdown, write_table
from benchmark.scores import PREDICTIONS, RANKS, read_scores, write_ranks
from benchmark.site import read_figures, write_site
from benchmark.site_data import Shown
from benchmark.study import write_study
from benchmark.tables import results_of, table_of
from datamodules.errors import UserError
from datamodules.protocol import PROTOCOLS

FILES = ("record.json", "metrics.csv")  # copied as they are; predictions are kept as ranks
NO_SETTINGS = {"model", "steps_by_default"}  # how a run was asked for: the path of a file, and whether steps were given
TOLERANCE = 1e-6  # between a claimed AUC and that of the ranks


def add_runs(runs: Path, board: Path) -> tuple[int, int]:
    """Copy the finished runs under `runs` to the board; return how many were added, and how many were there.

    A run that is there already without its ranks gets them. Raises `UserError`, with nothing copied, where a run's
    predictions are missing or do not give the AUC that it claims, its protocol is not the one of that name here, its
    samples are not those of the board, its row lacks a seed or mixes settings, or another run stands in its place.
    """
    found = [record for record in read_records(runs) if record.status == "finished"]
    if not found:
        raise UserError(f"{runs} holds no finished run; train some first: dien-bench run --datasets tafeng")
    new, kept = [], []
    for record in found:
        check_run(record)
        target = _place(board, record)
        if not (target / "record.json").exists():
            new.append((record, target))
        elif (target / "record.json").read_bytes() != record.path.read_bytes():
            raise UserError(
                f"{target} holds another run than {record.path.parent}; remove the one that is not to count"
            )
        else:
            kept.append((record, target))
    there = read_records(board / "records") if (board / "records").is_dir() else []
    check_samples([record for record, _ in new], there)
    check_rows([record for record, _ in new], there)
    board.mkdir(parents=True, exist_ok=True)
    with FileLock(board / ".lock"):
        for record, target in new:
            partial = target.with_name(target.name + ".part")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            for name in FILES:
                shutil.copyfile(record.path.parent / name, partial / name)
            _copy_ranks(record.path.parent, partial)
            partial.rename(target)
        for record, target in kept:
            if not (target / RANKS).exists():
                _copy_ranks(record.path.parent, target)
                (target / PREDICTIONS).unlink(missing_ok=True)
    (board / ".lock").unlink(missing_ok=True)
    return len(new), len(found) - len(new)


def check_run(record: Record) -> None:
    """Raise `UserError` unless protocol and predictions bear out what a record claims."""
    folder = record.path.parent
    protocol = PROTOCOLS.get(record.protocol)
    if protocol is None or protocol.hash != record.protocol_hash:
        expected = "an unknown protocol" if protocol is None else f"hash {protocol.hash}"
        raise UserError(f"{folder} was run under {record.protocol} of hash {record.protocol_hash}, here is {expected}")
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise UserError(f"{folder} lacks {missing[0]}, expected {', '.join(FILES)}")
    if not check_auc(record):
        raise UserError(f"{folder} lacks {PREDICTIONS}, expected it beside the record. Train the run again.")


def check_samples(new: Sequence[Record], there: Sequence[Record]) -> None:
    """Raise `UserError` unless all runs of a data set and protocol saw the same samples."""
    expected: dict[tuple[str, str], Record] = {}
    for record in [*there, *new]:
        first = expected.setdefault((record.dataset, record.protocol), record)
        if record.data_sha256 != first.data_sha256:
            raise UserError(
                f"{record.path.parent} was run on samples {record.data_sha256[:8]}..., but {first.path.parent} on "
                f"{first.data_sha256[:8]}...: {record.dataset} is not the same data there. Prepare it anew, or give "
                "other data another name, and train the runs again."
            )


def check_rows(new: Sequence[Record], there: Sequence[Record]) -> None:
    """Raise `UserError` unless every row that gets a run then has the seeds 0 .. n - 1, all with the same settings."""
    touched = {_row(record) for record in new}
    rows: dict[tuple[str, ...], list[Record]] = {}
    for record in [*there, *new]:
        if _row(record) in touched and record.status == "finished":
            rows.setdefault(_row(record), []).append(record)
    for row, records in rows.items():
        name, seeds = "/".join(row), sorted(record.seed for record in records)
        if missing := sorted(set(range(seeds[-1])) - set(seeds)):
            raise UserError(
                f"{name} has the seeds {_listed(seeds)} and lacks {_listed(missing)}, expected all from 0 on: a row "
                f"counts with all of its seeds. Train the missing ones, or move away the runs behind seed {missing[0]}."
            )
        for record in records[1:]:
            own, first = record.settings, records[0].settings
            for key in sorted({*own, *first} - NO_SETTINGS):
                if own.get(key) != first.get(key):
                    raise UserError(
                        f"{record.path.parent} was run with {key} = {own.get(key)}, but {records[0].path.parent} with "
                        f"{first.get(key)}: the seeds of a row share all settings"
                    )


def _row(record: Record) -> tuple[str, ...]:
    return record.dataset, record.protocol, f"{record.model}-{record.variant}"


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))


def check_auc(record: Record) -> bool:
    """Compare a finished run's AUC, reported, last and best on test, with its predictions; False where it has none.

    Raises `UserError` where they differ by more than 1e-6.
    """
    scores = read_scores(record.path.parent)
    if scores is None:
        return False
    claims = {"reported": record.reported_auc, "last": record.auc.last, "best on test": record.auc.test}
    for (name, claimed), found in zip(claims.items(), scores, strict=True):
        checkpoint = found or scores.reported  # the one best on test is left out of the ranks where it is that
        if claimed is None or not abs(checkpoint.auc - claimed) <= TOLERANCE:
            raise UserError(
                f"{record.path}: the predictions of the {name} checkpoint give AUC {checkpoint.auc:.6f}, claimed is "
                f"{claimed}. One of the two files is not of this run: train it again."
            )
    return True


def verify(board: Path) -> tuple[int, list[Path]]:
    """Recompute the AUC of every run on the board; return how many agree, and the folders without predictions.

    Raises `UserError` for the first run whose record claims another AUC.
    """
    finished = [record for record in read_records(board / "records") if record.status == "finished"]
    without = [record.path.parent for record in finished if not check_auc(record)]
    return len(finished) - len(without), without


def build(board: Path) -> list[Path]:
    """Write every table and figure of the board, and its index, from its records; return their paths."""
    records = read_records(board / "records") if (board / "records").is_dir() else []
    if not records:
        page = write_site(board, [], [], [])[0]
        raise UserError(
            f"{board / 'records'} holds no record; {page} says how to make one: dien-bench leaderboard add runs"
        )
    written: list[Path] = []
    shown: list[Shown] = []
    options: list[Shown] = []
    index = [
        "# Leaderboard",
        "",
        "Made by `make leaderboard` from the records in `records/` and the rules in `probes/`; not to be edited.",
        "`dien-bench leaderboard verify` recomputes every AUC. Printed figures one by one: [claims](claims.md).",
        "Why the paper's AUC is not reached: the [study](study.md).",
        "With seeds, settings and learning curves of every row: open [`site/index.html`](site/index.html).",
        "",
    ]
    for protocol, variant in sorted({(record.protocol, record.variant) for record in records}, key=_order):
        mine = [record for record in records if (record.protocol, record.variant) == (protocol, variant)]
        datasets = sorted({record.dataset for record in mine}, key=_dataset_order)
        own = sorted({record.model for record in mine if base_of(record.model) not in paper.LABELS})
        stem = f"{protocol}-{variant}"
        probes = _probes(board, datasets, protocol)
        index += [f"## Protocol {escape_markdown(protocol)}, variant {variant}", ""]
        for number, rows in paper.TABLES.items():
            models = [row.model for row in rows if any(record.model == row.model for record in mine)] + own
            if len(models) < 2:
                continue
            results = results_of(mine, number, datasets, protocol, variant, models, probes)
            made = table_of(results, number, protocol, variant)
            shown.append(Shown(number, protocol, variant, results, made.notes))
            paths = write_table(made, board, f"table{number}-{stem}")
            written += paths
            index += [paths[0].read_text().replace("## ", "#### ").replace("##### ", "#### "), ""]
            index += [f"As [CSV]({quote(paths[1].name)}).", ""]
            if (number, stem) == ("4", "arxiv-v1-official"):
                short = table_of(results, number, protocol, variant, short=True)
                _show_in(board.parent / "README.md", board.name, short.markdown())
        options += option_tables(mine, protocol, variant, datasets, probes)
        written += _figures(mine, datasets, board, stem, index)
    index += _evolution(board)
    measured = _measured_probes(board)
    index += [overview(measured).markdown().replace("### ", "#### ")] if measured else []
    write_atomically(board / "claims.md", claims_page(records, board).encode())
    written += write_study(records, {(found.dataset, found.protocol): found for found in measured}, board)
    write_atomically(board / "README.md", "\n".join(index).encode())
    return [*written, board / "claims.md", board / "README.md", *write_site(board, records, shown, measured, options)]


def _probes(board: Path, datasets: Sequence[str], protocol: str) -> dict[str, Probes]:
    found = {name: read_probes([board / "probes"], name, protocol) for name in datasets}
    return {name: probes for name, probes in found.items() if probes is not None}


def _measured_probes(board: Path) -> list[Probes]:
    """Return all probes of the board, by data set and protocol."""
    by_protocol = [_probes(board, _probed(board, protocol), protocol) for protocol in PROTOCOLS]
    measured = [probes for found in by_protocol for probes in found.values()]
    return sorted(measured, key=lambda probes: _dataset_order(probes.dataset))


def _probed(board: Path, protocol: str) -> list[str]:
    """Return the data sets whose probes under a protocol the board has."""
    before, behind = file_name("\0", protocol).split("\0")
    names = [path.name[len(before) : -len(behind)] for path in (board / "probes").glob(f"{before}*{behind}")]
    return sorted(names, key=_dataset_order)


def _copy_ranks(source: Path, target: Path) -> None:
    """Write the ranks of a run whose scores have been checked."""
    scores = read_scores(source)
    assert scores is not None
    write_ranks(scores, target / RANKS)


def _show_in(readme: Path, board: str, markdown: str) -> None:
    """Put a board's table between its two marks of a page, where the page has them."""
    begin, end = f"<!-- table 4 of {board} -->", f"<!-- /table 4 of {board} -->"
    text = readme.read_text() if readme.exists() else ""
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if found and closed:
        table_only = markdown.replace("## ", "### ", 1).replace("\n### ", "\n#### ")
        write_atomically(readme, f"{before}{begin}\n{table_only}{end}{after}".encode())


def _figures(records: Sequence[Record], datasets: list[str], board: Path, stem: str, index: list[str]) -> list[Path]:
    curves: dict[str, dict[str, list[Path]]] = {}
    for record in sorted(records, key=lambda record: (paper.order(record.model), record.seed)):
        if record.model != base_of(record.model) in paper.LABELS:
            continue  # a row with options has its curves on the page study-details.html
        path = record.path.parent / "metrics.csv"
        curves.setdefault(record.dataset, {}).setdefault(record.model, []).append(path)
    written: list[Path] = []
    datasets = [name for name in datasets if name in curves]
    with_auxiliary = {name: curves[name]["dien"] for name in datasets if "dien" in curves[name]}
    if with_auxiliary:
        written += figure2(with_auxiliary, board / f"figure2-{stem}")
        index += [f"![Whole loss and auxiliary loss over steps]({quote(f'figure2-{stem}.png')})", ""]
    for name in datasets:
        written += figure_auc(curves[name], board / f"auc-{name}-{stem}", dataset=f"{name}, {stem}")
        index += [f"![Test AUC over steps on {escape_markdown(name)}]({quote(f'auc-{name}-{stem}.png')})", ""]
    return written


def _evolution(board: Path) -> list[str]:
    """Return what the index says of the figures of evolving interests that lie on the board."""
    stems = [path.stem for path in sorted(board.glob("figure3-*.json"))]
    if not stems:
        return []
    lines = ["## Evolving interests", "", "Figure 3; to point at in [`site/figure3.html`](site/figure3.html).", ""]
    for stem, figure in zip(stems, read_figures(board), strict=True):
        lines += [f"![Evolving interests]({stem}.png)", "", *(f"- {said}" for said in figure["caption"]), ""]
        lines += ["Made by", "```", str(figure["command"]), "```", ""]
    return lines


def _place(board: Path, record: Record) -> Path:
    return run_folder(board / "records", record.dataset, record.protocol, record.model, record.variant, record.seed)


def _order(key: tuple[str, str]) -> tuple[int, str]:
    protocol, variant = key
    return (list(PROTOCOLS).index(protocol) if protocol in PROTOCOLS else len(PROTOCOLS), variant)


def _dataset_order(name: str) -> tuple[int, str]:
    first = ("electronics", "books", "sports", "beauty")
    return (first.index(name) if name in first else len(first), name)
