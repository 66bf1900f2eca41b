"""Whether a record's figures follow from its predictions."""

from benchmark.analysis.metrics import auc
from benchmark.records.record import Record
from benchmark.records.results import scores_of
from datamodules.errors import UserError

TOLERANCE = 1e-6  # between a claimed AUC and that of the ranks


def check_auc(record: Record) -> bool:
    """Compare a finished run's AUC, reported, last and best on test, with its predictions; False where it has none.

    Raises `UserError` where they differ by more than 1e-6.
    """
    scores = scores_of(record)
    if scores is None:
        return False
    claims = {"reported": record.reported_auc, "last": record.auc.last, "best on test": record.auc.test}
    for (name, claimed), found in zip(claims.items(), scores, strict=True):
        checkpoint = found or scores.reported  # the one best on test is left out of the ranks where it is that
        if claimed is None or not abs(auc(checkpoint) - claimed) <= TOLERANCE:
            raise UserError(
                f"{record.place}: the predictions of the {name} checkpoint give AUC {auc(checkpoint):.6f}, claimed is "
                f"{claimed}. One of the two files is not of this run: train it again."
            )
    return True
