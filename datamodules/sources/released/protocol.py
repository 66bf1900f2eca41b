"""The protocol `released`: samples as their authors published them. It joins the named protocols when it is imported.

It is no member of `datamodules.protocol` so that the code that trains, and with it the identity of every run, is what
it was. To that code it is a `DayProtocol`: samples with any labels in any order, not one positive and one negative.
"""

from dataclasses import dataclass

from datamodules.protocol import BATCH_SIZE, PROTOCOLS, DayProtocol

WINDOW = 20  # batches


@dataclass(frozen=True)
class ReleasedProtocol(DayProtocol):
    """Samples as published; the fields of days mean nothing here.

    They stand in the order in which the released iterator gives them: `sorted_window` rows are read and sorted by the
    length of their whole history, the longest first.
    """

    sorted_window: int = WINDOW * BATCH_SIZE

    def __str__(self) -> str:
        return (
            "Samples as published: split, negatives, order and vocabularies of their authors; training histories are "
            f"cut to the newest {self.max_history} behaviours, test histories are not; what is selected on is the test "
            "set itself."
        )


RELEASED = ReleasedProtocol(name="released", validation=False, selection="test", window_days=0)
PROTOCOLS[RELEASED.name] = RELEASED
