"""The numbers that the paper prints, typed off once, each with its source.

Zhou et al., "Deep Interest Evolution Network for Click-Through Rate Prediction". Two versions print different
AUC: "v1" is arXiv:1809.03672v1 (September 2018), "AAAI" is the proceedings of AAAI 2019 (also arXiv v5). Both
give means of 5 runs; only the second prints their spread.
"""

from typing import NamedTuple

from datamodules.protocol import OF_IMPRESSIONS, RELEASED


class Row(NamedTuple):
    """A line of a table: the model's name here and the label that the paper prints."""

    model: str
    label: str


class Auc(NamedTuple):
    """A printed AUC: mean of 5 runs and, where printed, what stands behind its ±."""

    mean: float
    std: float | None = None


class Statistics(NamedTuple):
    """Counts of Table 1; None where a count is not known."""

    users: int | None
    goods: int | None
    categories: int | None
    samples: int | None


class Serving(NamedTuple):
    """What "Online Serving & A/B testing" prints, before and after."""

    latency_ms: tuple[float, float]
    hidden_size: tuple[int, int]
    requests_a_second: int  # of a worker, after


SERVING = Serving(latency_ms=(38.2, 6.6), hidden_size=(108, 32), requests_a_second=360)

TITLES = {
    "1": "The statistics of datasets",
    "2": "Results (AUC) on public datasets",
    "3": "Results (AUC) on industrial dataset",
    "4": "Effect of AUGRU and auxiliary loss",
}

# The rows of Tables 2, 3 and 4, in their order and spelling ("Attention" has a capital in Table 2 alone).
TABLES = {
    "2": [
        Row("base-model", "BaseModel"),
        Row("wide-deep", "Wide&Deep"),
        Row("pnn", "PNN"),
        Row("din", "DIN"),
        Row("gru-attention", "Two layer GRU Attention"),
        Row("dien", "DIEN"),
    ],
    "3": [
        Row("base-model", "BaseModel"),
        Row("wide-deep", "Wide&Deep"),
        Row("pnn", "PNN"),
        Row("din", "DIN"),
        Row("gru-attention", "Two layer GRU Attention"),
        Row("augru", "BaseModel + GRU + AUGRU"),
        Row("dien", "DIEN"),
    ],
    "4": [
        Row("base-model", "BaseModel"),
        Row("gru-attention", "Two layer GRU attention"),
        Row("aigru", "BaseModel + GRU + AIGRU"),
        Row("agru", "BaseModel + GRU + AGRU"),
        Row("augru", "BaseModel + GRU + AUGRU"),
        Row("dien", "DIEN"),
    ],
}

# Any row's label, for tables and legends that hold rows of both tables.
LABELS = {row.model: row.label for number in ("2", "4") for row in TABLES[number]}


def label_of(model: str) -> str:
    """The name of a row in tables: the paper's where it has one.

    >>> label_of("dien"), label_of("dien+tuned"), label_of("mine")
    ('DIEN', 'DIEN, tuned', 'mine')
    """
    base, tuned, rest = model.partition("+tuned")
    return f"{LABELS[base]}, tuned" if tuned and not rest and base in LABELS else LABELS.get(model, model)


def short_label(model: str) -> str:
    """The label of a row of the paper without what those of Table 4 share.

    >>> short_label("augru"), short_label("dien")
    ('AUGRU', 'DIEN')
    """
    return LABELS[model].replace("BaseModel + GRU + ", "")


# Table 1, the same in both versions. The industrial row is printed as 0.8, 0.82 and 7.0 billion.
STATISTICS = {
    "books": Statistics(users=603_668, goods=367_982, categories=1_600, samples=603_668),
    "electronics": Statistics(users=192_403, goods=63_001, categories=801, samples=192_403),
    "industrial": Statistics(users=800_000_000, goods=820_000_000, categories=18_006, samples=7_000_000_000),
}

# Tables 2 and 4 of v1; the rows that stand in both tables have the same figures in both.
V1_AUC = {
    "electronics": {
        "base-model": Auc(0.8538),
        "wide-deep": Auc(0.8546),
        "pnn": Auc(0.8582),
        "din": Auc(0.8608),
        "gru-attention": Auc(0.8640),
        "aigru": Auc(0.8663),
        "agru": Auc(0.8666),
        "augru": Auc(0.8675),
        "dien": Auc(0.9030),
    },
    "books": {
        "base-model": Auc(0.8846),
        "wide-deep": Auc(0.8656),
        "pnn": Auc(0.8935),
        "din": Auc(0.8974),
        "gru-attention": Auc(0.8993),
        "aigru": Auc(0.8994),
        "agru": Auc(0.8993),
        "augru": Auc(0.9021),
        "dien": Auc(0.9281),
    },
}

# Tables 2 and 4 of AAAI 2019.
AAAI_AUC = {
    "electronics": {
        "base-model": Auc(0.7435, 0.00128),
        "wide-deep": Auc(0.7456, 0.00127),
        "pnn": Auc(0.7543, 0.00101),
        "din": Auc(0.7603, 0.00028),
        "gru-attention": Auc(0.7605, 0.00059),
        "aigru": Auc(0.7606, 0.00061),
        "agru": Auc(0.7628, 0.00015),
        "augru": Auc(0.7640, 0.00073),
        "dien": Auc(0.7792, 0.00243),
    },
    "books": {
        "base-model": Auc(0.7686, 0.00253),
        "wide-deep": Auc(0.7735, 0.00051),
        "pnn": Auc(0.7799, 0.00181),
        "din": Auc(0.7880, 0.00216),
        "gru-attention": Auc(0.7890, 0.00268),
        "aigru": Auc(0.7892, 0.00222),
        # Repeats every digit of "Two layer GRU attention": probably a slip of the paper.
        "agru": Auc(0.7890, 0.00268),
        "augru": Auc(0.7911, 0.00150),
        "dien": Auc(0.8453, 0.00476),
    },
}

# Table 3, the industrial data set, which is not public; the same in both versions.
INDUSTRIAL = "industrial"
INDUSTRIAL_AUC = {
    "base-model": Auc(0.6350),
    "wide-deep": Auc(0.6362),
    "pnn": Auc(0.6353),
    "din": Auc(0.6428),
    "gru-attention": Auc(0.6457),
    "augru": Auc(0.6493),
    "dien": Auc(0.6541),
}


class Peer(NamedTuple):
    """Figures that others printed for a public log of impressions, and how they were measured."""

    name: str
    how: str
    auc: dict[str, float]


# Rows of other names: YoutubeNet and DNN stand for BaseModel, DIEN with an auxiliary weight of 0 for AUGRU.
PEERS = {
    "taobao-ad": (
        Peer(
            "DMR",
            "Lyu et al., AAAI 2020: days 1 to 7 train, day 8 tests, mean of 5 runs, no validation day named",
            {"wide-deep": 0.6408, "pnn": 0.6415, "din": 0.6416, "dien": 0.6420},
        ),
        Peer(
            "DSIN",
            "Feng et al., IJCAI 2019: a quarter of the users; the test day begins at 08:00 in Beijing, 8 hours late",
            {"base-model": 0.6313, "wide-deep": 0.6326, "din": 0.6330, "gru-attention": 0.6319, "dien": 0.6343},
        ),
        Peer(
            "BARS",
            "TaobaoAd_x1: days 1 to 7 train, day 8 tests, one run, best on test",
            {"base-model": 0.6467, "din": 0.6524, "augru": 0.6529},
        ),
    )
}

# Table 5, online A/B test of 2018-06-07 to 2018-07-12: gains over BaseModel, as fractions.
ONLINE_GAINS = {
    "din": {"ctr": 0.089, "ppc": -0.020, "ecpm": 0.067},
    "dien": {"ctr": 0.207, "ppc": -0.030, "ecpm": 0.171},
}

# Not printed: the authors' released code on Sports in catalogue order, run once by others under TensorFlow 2.15 on
# samples of its own (8,100 steps of 128, the best of an evaluation every 300 steps).
RELEASED_ON_SPORTS = {"base-model": 0.8444, "din": 0.8677, "augru": 0.8668, "dien": 0.8942}

# Not the paper's: BARS on AmazonElectronics_x1, one seed each, best on the test rows (reczoo/BARS, ranking/ctr/DNN, DIN
# and DIEN; its DIEN has no auxiliary loss).
BARS_DATASET = "electronics-x1"
BARS = {
    "base-model": {"gauc": 0.878957, "auc": 0.881546, "logloss": 0.440110},
    "din": {"gauc": 0.883526, "auc": 0.886028, "logloss": 0.430190},
    "augru": {"gauc": 0.885625, "auc": 0.888777, "logloss": 0.425708},
}

# Which version's figures a protocol is meant to meet; the other protocols are not the paper's.
AUC_OF_PROTOCOL = {
    "arxiv-v1": V1_AUC,
    "aaai-2019": AAAI_AUC,
    "next-day": {INDUSTRIAL: INDUSTRIAL_AUC},
    # The very test rows of the printed figures.
    RELEASED.name: {
        "books-released": AAAI_AUC["books"],
        BARS_DATASET: {model: Auc(row["auc"]) for model, row in BARS.items()},
    },
}


def tables_of(protocol: str) -> list[str]:
    """The tables whose rows a protocol's runs fill: Table 3 is of impressions, Tables 2 and 4 of behaviours.

    >>> tables_of("next-day"), tables_of("clean")
    (['3'], ['2', '4'])
    """
    return [number for number in TABLES if (number == "3") == (protocol in OF_IMPRESSIONS)]


def printed_auc(dataset: str, model: str, protocol: str) -> Auc | None:
    """Return the AUC printed for a row with its spread, None where the paper prints none.

    A row with options is compared with the row itself where the test rows are the printed ones.

    >>> printed_auc("books", "dien", "aaai-2019")
    Auc(mean=0.8453, std=0.00476)
    """
    plain = model.partition("+")[0] if protocol == RELEASED.name else model
    return AUC_OF_PROTOCOL.get(protocol, {}).get(dataset, {}).get(plain)


def paper_auc(dataset: str, model: str, protocol: str) -> float | None:
    """Return the mean AUC printed for a row, None where the paper prints none.

    >>> paper_auc("electronics", "dien", "arxiv-v1")
    0.903
    >>> paper_auc("sports", "dien", "arxiv-v1") is None
    True
    """
    auc = printed_auc(dataset, model, protocol)
    return None if auc is None else auc.mean


def order(model: str) -> int:
    """Position of a row in the paper's order; rows that are not the paper's come last.

    >>> order("base-model"), order("dien"), order("mine")
    (0, 8, 9)
    """
    known = ("base-model", "wide-deep", "pnn", "din", "gru-attention", "aigru", "agru", "augru", "dien")
    return known.index(model) if model in known else len(known)
