"""The named protocols: how interactions become samples.

A protocol is the whole answer to "which samples is this AUC measured on". A change to what one means is a new
name; every record carries the name and a hash of the fields.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Literal

from datamodules.errors import unknown_name

Order = Literal[
    "catalogue",  # by raw item id: what the authors' first public preprocessing amounted to
    "time, catalogue",  # by time, behaviours of one day in catalogue order (a stable sort of the review files)
    "time, random",  # by time, behaviours of one day in a seeded random order
]
Negative = Literal[
    "popularity, not the target",  # a random review's item that differs from the positive target
    "popularity, not seen",  # a random review's item that the user never interacted with
    "uniform, not seen",  # a random item that the user never interacted with
]
Selection = Literal["last", "validation", "test"]
AuxiliaryNegatives = Literal[  # an option of training, of no protocol
    "popularity",  # a random review's item (released code)
    "uniform",  # a random item (paper, "sampled from item set")
    "unclicked",  # what the user was shown before and did not click (paper, industrial data)
    "own",  # another behaviour of the user, no later: a control, from the source that positives come from
    "none",  # zeros
]
AuxiliaryDraws = Literal[  # likewise
    "fresh",  # every epoch draws its own
    "once",  # one negative a behaviour, the same in every epoch and sample
]

BATCH_SIZE = 128  # samples of a step, as in the released code, unless a run is told otherwise


@dataclass(frozen=True)
class _Fields:
    """What all protocols have in common."""

    @property
    def hash(self) -> str:
        """Eight hexadecimal digits that change with any field."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Protocol(_Fields):
    """One way to make samples; `test_users + validation_users` of 0 means that all users train and are tested."""

    name: str
    order: Order
    every_position_trains: bool  # False: a user gives one positive and one negative, at the last position
    negative: Negative
    pool: Literal["all users", "training users"]  # whose reviews define popularity
    validation_users: float  # share of users
    test_users: float  # share of users
    selection: Selection  # the checkpoint whose test AUC is reported
    max_history: int = 100  # the newest behaviours that a sample keeps
    data_seed: int = 0  # of the split, the ties and the target negatives

    def __str__(self) -> str:
        where = "every position trains" if self.every_position_trains else "one positive and one negative a user"
        users = f"{100 * self.test_users:.0f} % of users test" if self.test_users else "all users train and test"
        users += f", {100 * self.validation_users:.0f} % validate" if self.validation_users else ""
        return f"Order of behaviours: {self.order}; {where}; negatives: {self.negative}; {users}."

    def targets(self, users: int, interactions: int | None) -> int | None:
        """How many positives train of `users` with `interactions` of known order; None where that is not known."""
        if not self.every_position_trains:
            return users - round(users * self.test_users) - round(users * self.validation_users)
        return None if interactions is None else interactions - 2 * users  # more where users have one behaviour alone


@dataclass(frozen=True)
class DayProtocol(_Fields):
    """One way to make samples of impressions: earlier days train, the last one tests.

    A history holds the behaviours of the `window_days` days before the impression, strictly before its time.
    """

    name: str
    validation: bool  # True: the day before the last validates, and does not train
    selection: Selection
    test: Literal["policy", "random"] = "policy"  # test on what the log's policy chose to show, or on random targets
    window_days: int = 14
    max_history: int = 100  # the newest behaviours that a sample keeps
    data_seed: int = 0  # nothing is drawn

    def __str__(self) -> str:
        days = "the day before the last validates, earlier ones train" if self.validation else "all earlier ones train"
        what = "impressions of the log's policy" if self.test == "policy" else "impressions drawn at random"
        return (
            f"Impressions, clicked or not; history: {self.window_days} days before the impression, strictly earlier; "
            f"the last day tests ({what}), {days}."
        )


@dataclass(frozen=True)
class ReleasedProtocol(_Fields):
    """Samples as their authors published them, in the order in which the released iterator gives them.

    `sorted_window` rows are read and sorted by the length of their whole history, the longest first.
    """

    name: str
    selection: Selection
    sorted_window: int = 20 * BATCH_SIZE
    max_history: int = 100  # the newest behaviours that a training sample keeps
    data_seed: int = 0  # nothing is drawn

    def __str__(self) -> str:
        return (
            "Samples as published: split, negatives, order and vocabularies of their authors; training histories are "
            f"cut to the newest {self.max_history} behaviours, test histories are not; what is selected on is the test "
            "set itself."
        )


AnyProtocol = Protocol | DayProtocol | ReleasedProtocol

_AAAI_2019 = Protocol(
    name="aaai-2019",
    order="time, catalogue",
    every_position_trains=False,
    negative="popularity, not the target",
    pool="all users",
    validation_users=0.0,
    test_users=0.1,
    selection="test",
)

OF_INTERACTIONS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="arxiv-v1",
            order="catalogue",
            every_position_trains=False,
            negative="popularity, not the target",
            pool="all users",
            validation_users=0.0,
            test_users=0.1,
            selection="test",
        ),
        _AAAI_2019,
        Protocol(
            name="clean",
            order="time, random",
            every_position_trains=False,
            negative="popularity, not seen",
            pool="training users",
            validation_users=0.1,
            test_users=0.1,
            selection="validation",
        ),
        Protocol(
            name="din-2018",
            order="time, catalogue",
            every_position_trains=True,
            negative="uniform, not seen",
            pool="all users",
            validation_users=0.0,
            test_users=0.0,
            selection="test",
        ),
        # One change each, so that a study can say what it is worth.
        replace(_AAAI_2019, name="random-ties", order="time, random"),
        replace(_AAAI_2019, name="uniform-negatives", negative="uniform, not seen"),
    )
}
OF_IMPRESSIONS = {  # Table 3
    protocol.name: protocol
    for protocol in (
        DayProtocol(name="next-day", validation=True, selection="validation"),
        DayProtocol(name="next-day-dmr", validation=False, selection="last"),
        DayProtocol(name="next-day-random", validation=True, selection="validation", test="random"),
    )
}
RELEASED = ReleasedProtocol(name="released", selection="test")
PROTOCOLS: dict[str, AnyProtocol] = {**OF_INTERACTIONS, **OF_IMPRESSIONS, RELEASED.name: RELEASED}


def get_protocol(name: str) -> AnyProtocol:
    """Return the protocol of that name, or raise a `UserError` that names the closest one."""
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]
