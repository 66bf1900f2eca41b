"""Rocket Launching as a table: the booster, the light net alone, and the light net that the booster teaches."""

from collections.abc import Sequence

from baselines.spec import parse_spec
from benchmark.analysis.summary import DIFFERENT, Difference, Row, differences_of_pairs, relation_of, summarise
from benchmark.records.record import Record
from benchmark.report.render import Section, Table, fixed
from benchmark.report.results import check_comparable
from datamodules.errors import UserError

BOOSTER, LIGHT, ROCKET = "dien+hidden_size=108", "dien+hidden_size=32", "dien-rocket"
LABELS = {BOOSTER: "booster, 108 units", LIGHT: "light net alone, 32 units"}
HINT = 0.3  # of dien-rocket
CSV = "dataset,protocol,variant,model,seeds,auc_mean,auc_std,logloss_mean,minus_light,p_light,minus_booster,p_booster"
NOTE = (
    "Mean test AUC ± unbiased standard deviation (seeds). The light net is what is evaluated and served. hint_weight: "
    "lambda, 0.3 where it is not named; share: one embedding layer for both nets; block: the hint moves the light net "
    "alone. Differences: paired tests that count test users and seeds, two-sided, Holm-corrected over a data set."
)


def rocket_table(records: Sequence[Record], datasets: Sequence[str], protocol: str, variant: str) -> Table:
    """Return a section a data set; raises UserError where it has no run of dien-rocket, and for mixed runs."""
    sections, lines = [], [tuple(CSV.split(","))]
    for dataset in datasets:
        mine = [
            record
            for record in sorted(records, key=lambda record: (record.model, record.seed))
            if (record.dataset, record.protocol, record.variant) == (dataset, protocol, variant)
            and (record.model in LABELS or parse_spec(record.model).base == ROCKET)
        ]
        taught = sorted({record.model for record in mine} - set(LABELS), key=_order)
        if not taught:
            raise UserError(
                f"no run of {ROCKET} on {dataset} under {protocol}, variant {variant}, expected some. Train them: make "
                "reproduce-rocket"
            )
        check_comparable(mine)
        rows = [summarise(mine, model, LABELS.get(model, model)) for model in (*LABELS, *taught)]
        booster, light, *others = rows
        pairs = [(light, booster), *((row, other) for row in others for other in (light, booster))]
        tested = differences_of_pairs(pairs)
        sections.append(_section(dataset, rows, tested))
        lines += [_line((dataset, protocol, variant), row, tested) for row in rows]
    return Table(f"Rocket Launching, protocol {protocol}, variant {variant}", tuple(sections), (NOTE,), tuple(lines))


def _order(model: str) -> tuple[int, float, str]:
    """Rows that differ in the hint's weight first, by it."""
    options = dict(parse_spec(model).options)
    weight = options.pop("hint_weight", HINT)
    return len(options), float(weight), model


def _section(dataset: str, rows: Sequence[Row], tested: dict[tuple[str, str], Difference]) -> Section:
    cells = []
    for row in rows:
        spread = f" ± {row.std:.4f}" if row.std is not None else ""
        of_light, of_booster = (tested.get((row.model, other)) for other in (LIGHT, BOOSTER))
        auc = f"{row.mean:.4f}{spread} ({row.seeds})" if row.mean is not None else ""
        cells.append((row.label, auc, fixed(row.metrics.get("logloss"), 4), _shown(of_light), _shown(of_booster)))
    header = ("model", "AUC", "log loss", "minus light net alone", "minus booster")
    taught = [tested.get((row.model, LIGHT)) for row in rows[2:]]
    better = sum(relation_of(one) == DIFFERENT and one.comparison.difference > 0 for one in taught if one)
    done = sum(one is not None for one in taught)
    note = f"Taught nets significantly above the light net alone: {better} of {done} tested."
    return Section(dataset, header, tuple(cells), note=note)


def _shown(one: Difference | None) -> str:
    if one is None:
        return ""
    p = "p < 0.001" if one.p < 0.001 else f"p = {one.p:.3f}"
    return f"{one.comparison.difference:+.4f} ({p}), {one.relation}"


def _line(place: tuple[str, ...], row: Row, tested: dict[tuple[str, str], Difference]) -> tuple[str, ...]:
    cells = [row.model, str(row.seeds), *(fixed(of, 6) for of in (row.mean, row.std, row.metrics.get("logloss")))]
    for other in (LIGHT, BOOSTER):
        one = tested.get((row.model, other))
        cells += ["", ""] if one is None else [f"{one.comparison.difference:.6f}", f"{one.p:.3g}"]
    return (*place, *cells)
