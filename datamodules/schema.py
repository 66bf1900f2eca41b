"""The fields of a data set: what its users, behaviours, targets and contexts are described by."""

from dataclasses import asdict, dataclass, field

Rows = dict[str, int]  # a field -> rows of its embedding table, row 0 included


@dataclass(frozen=True)
class Schema:
    """Fields by name, each with the number of rows of its table; row 0 is padding and whatever training never saw.

    A target has the fields of a behaviour first, and shares their tables, then fields of its own.

    >>> schema = Schema(user={"user": 5}, behaviour={"item": 9, "category": 4}, target={"campaign": 3})
    >>> list(schema.of_target), schema.rows["campaign"]
    (['item', 'category', 'campaign'], 3)
    """

    user: Rows  # of a user; Amazon: user
    behaviour: Rows  # of a behaviour; Amazon: item, category
    target: Rows = field(default_factory=dict)  # further fields of a target, as campaign or price
    context: Rows = field(default_factory=dict)  # of the moment at which a target is shown, as hour or position

    def __post_init__(self) -> None:
        names = [name for rows in asdict(self).values() for name in rows]
        if len(set(names)) < len(names):
            raise ValueError(f"a field stands twice among {', '.join(names)}, expected every name once")
        if not self.behaviour:
            raise ValueError("a behaviour has no field, expected at least one")
        for name, rows in self.rows.items():
            if isinstance(rows, bool) or not isinstance(rows, int) or rows < 1:
                raise ValueError(f"the field {name} must have a positive number of rows, got {rows!r}")

    @property
    def of_target(self) -> Rows:
        """The fields of a target: those of a behaviour, then its own."""
        return self.behaviour | self.target

    @property
    def rows(self) -> Rows:
        """All fields."""
        return self.user | self.behaviour | self.target | self.context

    def as_dict(self) -> dict[str, Rows]:
        """The schema as plain dictionaries; `Schema(**schema.as_dict())` is the schema again."""
        return asdict(self)
