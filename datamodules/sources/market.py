"""A simulated display-advertising log: every click is drawn from a probability that is known. Nothing is downloaded.

A stand-in for the industrial data of Table 3, which is private. Numbers are round and chosen for a plausible log; none
is fitted to a model. `docs/market.md` says what in it favours which kind of model. u, i, t: user, good, time.

Goods. Good i has a category c(i), a style r(i) in 1..4, a shop, a quality q(i) (mean 0, variance 1), and is
advertised with chance 1/3, by one of its shop's two campaigns k(i), of strength e(k) (mean 0, variance 0.09). A shop
has one style and goods of three neighbouring categories. Each category has three successors, other categories drawn
once. The weight of a good falls as 1 / ((c + 9) rank), its rank inside its category being that of q + noise; ads
have a second weight of this form, with noise of their own.

Interests. A user has four tastes L(u, t) and one focus z(u, t), all categories, constant for a slot of six hours.
At the start of a slot, with chance 1/8, the focus moves: with chance 0.5 to a successor of z, 0.4 to one of the
tastes, 0.1 to any category (that of a good drawn by weight). With chance 0.5 a move also replaces one taste, drawn
uniformly, by the new focus, unless it is a taste already. The first tastes are any categories, and the first focus
is one of them. "Any category" is drawn again, once, where the first draw is for the other gender. A user has
one preferred style s(u) and a tendency to click v(u) = 0.1 (age level - 3.5) + 0.3 noise.

Behaviours. In each slot a user comes with a chance of 0.025 to 0.68 (activity of the user, hour of the day), once a
day on average, for 1 to 5 behaviours. A behaviour is on the category z with chance 0.6, on a taste with chance 0.2,
else on any good by weight. Inside a category it is by weight, with chance 0.5 among goods of style s(u) alone.

Ads. From day 14 on 4 of 5 visits see a page of 1 to 3 different ads: half of them on entering, before the visit's first
behaviour, half at a moment of the 25 minutes from then. The policy that chooses an ad is a day behind: its category is
with chance 0.3 the focus of a day ago, 0.2 a taste of a day ago, else any; inside the category, or among all, it goes
by the weights of ads. So what is shown is no random sample. The log holds a share of the training days' pages, and all
of the last two days, so that validation and test are not too small.

Clicks. With [.] equal to 1 where it holds, else 0,

    logit p = -4.3 + 1.6 [c(i) = z(u, t)] + 0.6 [c(i) is a successor of z(u, t)] + 0.8 [c(i) in L(u, t)]
              + 0.5 [r(i) = s(u)] + 0.5 q(i) + e(k(i)) + v(u) + hour(t) + position

where hour is -0.2 from 0 to 6, 0.2 from 19 to 23, else 0, and position is 0, -0.4, -0.7. A click adds no behaviour.

Random numbers are the raw bits of PCG64, one stream a purpose, which NumPy never changes. Up to the clicks there is
neither exp nor log, only sums, products and comparisons, so it is the same on every machine. A click compares a uniform
number with p, whose last digits may depend on the processor; the chance that this changes a label anywhere in the log
is below one in a million.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodules.errors import UserError, unknown_name
from datamodules.impressions import DAY, Behaviours, Impressions, Int32, Int64, Shown
from datamodules.sources.spec import ImpressionSpec

Float64 = NDArray[np.float64]
Int16 = NDArray[np.int16]
Floats = NDArray[np.float32]

FIRST_MIDNIGHT = 1_525_132_800  # 2018-05-01 00:00 UTC
DAYS, FIRST_SHOWN, LAST_TRAINED = 65, 14, 62  # 14 days of behaviours alone, 49 to train, one to validate, one to test
SLOT = 21_600  # seconds for which interests are constant
SLOTS = DAYS * DAY // SLOT
A_DAY = DAY // SLOT  # slots

STYLES, SUCCESSORS, TASTES = 4, 3, 4
ADVERTISED = 1 / 3
MOVE, TO_SUCCESSOR, TO_TASTE, NEW_TASTE = 1 / 8, 0.5, 0.4, 0.5
ACTIVITY = np.array([0.1, 0.2, 0.3, 0.4])  # a user has one of these
HOURS_OPEN = np.array([0.25, 0.85, 1.2, 1.7])  # by slot of the day: the chance of a visit is the product
ON_FOCUS, ON_TASTE, IN_STYLE = 0.6, 0.2, 0.5
LENGTHS = np.array([0.65, 0.87, 0.95, 0.98])  # a visit has 1 behaviour below the first chance, 2 below the second, ...
PAGE, ENTRY = 0.8, 0.5  # of visits see a page of ads; of these pages are seen before the visit's first behaviour
ADS = np.array([0.55, 0.85])  # a page has 1 ad below the first chance, 2 below the second, else 3
SHOWN_FOCUS, SHOWN_TASTE = 0.3, 0.2
PROFILE_KNOWN = 0.95

BASE, FOCUS, SUCCESSOR, TASTE, STYLE, QUALITY = -4.3, 1.6, 0.6, 0.8, 0.5, 0.5
HOUR = np.array([0.0] + [-0.2] * 7 + [0.0] * 12 + [0.2] * 5)  # by code, 1 for the hour from midnight; 0: not known
POSITION = np.array([0.0, 0.0, -0.4, -0.7])  # by code, 1 for the first


@dataclass(frozen=True)
class MarketSize:
    """How many users, goods and categories (numbered from 1), and which share of the training days' pages is logged."""

    users: int
    goods: int
    categories: int
    kept: float = 1.0

    def __post_init__(self) -> None:
        least = {"users": 1, "categories": SUCCESSORS + 1, "goods": self.categories * STYLES}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise UserError(f"a market must have at least {value} {name}, got {getattr(self, name)}")
        if not 0 < self.kept <= 1:
            raise UserError(f"the share of pages kept must be above 0 and at most 1, got {self.kept}")
        if self.categories > np.iinfo(np.int16).max:
            raise UserError(f"a market must have at most 32,767 categories, got {self.categories}")


SIZES = {
    "small": MarketSize(users=6_000, goods=4_000, categories=50, kept=0.2),  # 75,000 impressions to train
    "large": MarketSize(users=100_000, goods=30_000, categories=200, kept=0.5),  # 3 million
    # One world and its test day, with more and more impressions to train: a factor of four each.
    "6k": MarketSize(users=25_000, goods=10_000, categories=100, kept=1 / 256),
    "24k": MarketSize(users=25_000, goods=10_000, categories=100, kept=1 / 64),
    "97k": MarketSize(users=25_000, goods=10_000, categories=100, kept=1 / 16),
    "390k": MarketSize(users=25_000, goods=10_000, categories=100, kept=1 / 4),
    "1550k": MarketSize(users=25_000, goods=10_000, categories=100),
}


class Draws:
    """Random numbers of one purpose, the same on every machine and with every version of NumPy."""

    def __init__(self, purpose: int, seed: int) -> None:
        self.bits = np.random.PCG64([purpose, seed])

    def uniform(self, *shape: int) -> Float64:
        """Numbers in [0, 1), of 53 bits."""
        raw = self.bits.random_raw(int(np.prod(shape)))
        return (np.right_shift(raw, np.uint64(11)) * 2.0**-53).reshape(shape)

    def below(self, limit: int, *shape: int) -> Int64:
        """Integers 0..limit - 1."""
        return (self.uniform(*shape) * limit).astype(np.int64)

    def noise(self, *shape: int) -> Float64:
        """Numbers with mean 0 and variance 1, nearly normal: four uniform ones summed, without log or exp."""
        one, two, three, four = self.uniform(4, *shape)
        total: Float64 = (one + two + three + four - 2) * np.sqrt(3)
        return total


@dataclass(frozen=True, eq=False)
class Goods:
    """Goods 1..I, in the order of category and style; C categories. Row 0 of an (I + 1,) array belongs to no good."""

    category: Int32  # (I + 1,) 1..C
    style: Int64  # (I + 1,) 1..STYLES
    shop: Int32  # (I + 1,) 1..C * STYLES
    campaign: Int32  # (I + 1,) 1..2 shops where advertised, else 0
    appeal: Float64  # (I + 1,) 0.5 q(i) + e(k(i))
    successors: Int16  # (C + 1, SUCCESSORS)
    gender: Int64  # (C + 1,) 1, 2: the category is for this gender; 0: for both
    bounds: Int64  # (C * STYLES + 1,) the goods above [g], up to [g + 1], have g = STYLES (category - 1) + style - 1
    weight: Int64  # (I + 1,) sum of the weights up to each good
    ad_weight: Int64  # (I + 1,) likewise as ads; it does not grow at a good that is not advertised

    def draw(self, draws: Draws, category: NDArray[Any], style: NDArray[Any], *, ads: bool = False) -> Int64:
        """Draw goods (N,) by weight: of a category (N,), 0 for all, and of a style (N,), 0 for all."""
        group = STYLES * (category.astype(np.int64) - 1) + np.maximum(style, 1) - 1
        after = group + np.where(style > 0, 1, STYLES)
        low = self.bounds[np.where(category > 0, group, 0)]
        high = self.bounds[np.where(category > 0, after, len(self.bounds) - 1)]
        total = self.ad_weight if ads else self.weight
        weight = (draws.uniform(len(low)) * (total[high] - total[low])).astype(np.int64)
        return np.searchsorted(total, total[low] + weight, side="right")


@dataclass(frozen=True, eq=False)
class World:
    """The truth behind the log: what click probability any ad has for any user at any moment of the 65 days."""

    goods: Goods
    profile: dict[str, Int32]  # (U,) age_level 1..6, gender 1..2, also where the log does not know them
    style: Int64  # (U,) 1..STYLES
    tendency: Float64  # (U,) v(u)
    activity: Float64  # (U,)
    focus: Int16  # (U, SLOTS) 1..C
    tastes: Int16  # (U, SLOTS, TASTES) 1..C

    def probability(
        self, user: NDArray[Any], time: Int64, item: NDArray[Any], context: Mapping[str, NDArray[Any]]
    ) -> Floats:
        """Probability (N,) that user (N,) 0..U-1 clicks item (N,) 1..I at time (N,), in unix seconds.

        `context` has the codes `hour` 1..24 and `position` 1..3, each (N,).
        """
        slot, category = slot_of(time), self.goods.category[item]
        focus = self.focus[user, slot]
        logit = BASE + self.goods.appeal[item] + self.tendency[user]
        logit += FOCUS * (category == focus)
        logit += SUCCESSOR * (category[:, None] == self.goods.successors[focus]).any(1)
        logit += TASTE * (category[:, None] == self.tastes[user, slot]).any(1)
        logit += STYLE * (self.goods.style[item] == self.style[user])
        logit += HOUR[context["hour"]] + POSITION[context["position"]]
        probability: Floats = (1 / (1 + np.exp(-logit))).astype(np.float32)
        return probability

    def advertise(self, user: NDArray[Any], time: Int64, draws: Draws) -> Int64:
        """Draw an ad (N,) for each user (N,) and time (N,), as the policy does that made the log."""
        slot = np.maximum(slot_of(time) - A_DAY, 0)
        category = self._category(user, slot, draws, SHOWN_FOCUS, SHOWN_TASTE)
        return self.goods.draw(draws, category, np.zeros(len(user), np.int64), ads=True)

    def behave(self, user: NDArray[Any], slot: NDArray[Any], draws: Draws) -> Int64:
        """Draw a behaviour's good (N,) for each user (N,) and slot (N,)."""
        category = self._category(user, slot, draws, ON_FOCUS, ON_TASTE)
        style = np.where((draws.uniform(len(user)) < IN_STYLE) & (category > 0), self.style[user], 0)
        return self.goods.draw(draws, category, style)

    def _category(
        self, user: NDArray[Any], slot: NDArray[Any], draws: Draws, focus: float, taste: float
    ) -> NDArray[Any]:
        """Categories (N,): the focus or one of the tastes, with these chances, else 0 for any."""
        kind, which = draws.uniform(len(user)), draws.below(TASTES, len(user))
        tastes = np.where(kind < focus + taste, self.tastes[user, slot, which], 0)
        return np.where(kind < focus, self.focus[user, slot], tastes)


def slot_of(time: Int64) -> Int64:
    """The slot (N,) of each time (N,)."""
    slot: Int64 = (np.asarray(time) - FIRST_MIDNIGHT) // SLOT
    if len(slot) and (slot.min() < 0 or slot.max() >= SLOTS):
        last = FIRST_MIDNIGHT + DAYS * DAY - 1
        raise UserError(
            f"the market has no time from {np.min(time)} to {np.max(time)}, expected {FIRST_MIDNIGHT} to {last}"
        )
    return slot


def make_market(size: str | MarketSize = "small", seed: int = 20180911) -> Impressions:
    """The log of the world of this size and seed: `small`, `large`, or a size of your own.

    >>> log = make_market(MarketSize(users=100, goods=200, categories=10))
    >>> log.items, list(log.catalogue), sorted(log.shown.context)
    (200, ['item', 'category', 'shop'], ['hour', 'position'])
    """
    return make_log(make_world(size, seed), _size(size).kept, seed)


def make_world(size: str | MarketSize = "small", seed: int = 20180911) -> World:
    """The truth behind `make_market` with the same arguments."""
    size = _size(size)
    goods = _goods(size, Draws(1, seed))
    draws = Draws(2, seed)
    age, gender = 1 + draws.below(6, size.users), 1 + draws.below(2, size.users)
    style, tendency = 1 + draws.below(STYLES, size.users), 0.1 * (age - 3.5) + 0.3 * draws.noise(size.users)
    activity = ACTIVITY[draws.below(len(ACTIVITY), size.users)]
    focus, tastes = _interests(goods, gender, Draws(3, seed))
    profile = {"age_level": age.astype(np.int32), "gender": gender.astype(np.int32)}
    return World(goods, profile, style, tendency, activity, focus, tastes)


def make_log(world: World, kept: float, seed: int) -> Impressions:
    """Behaviours, ads and clicks; of the training days a share `kept` of the pages with ads."""
    draws = Draws(4, seed)
    users = len(world.style)
    came = draws.uniform(users, SLOTS) < world.activity[:, None] * np.tile(HOURS_OPEN, DAYS)
    user, slot = np.nonzero(came)
    start = FIRST_MIDNIGHT + slot * SLOT + draws.below(SLOT - 1_600, len(slot))  # at most 1,500 seconds in one slot
    goods, known = world.goods, draws.uniform(2, users) < PROFILE_KNOWN
    return Impressions(
        catalogue={
            "item": np.arange(len(goods.category), dtype=np.int32),
            "category": goods.category,
            "shop": goods.shop,
        },
        profile={name: world.profile[name] * known[row] for row, name in enumerate(world.profile)},
        behaviours=_behaviours(world, user, slot, start, draws),
        shown=_shown(world, user, slot, start, kept, seed),
        users=users,
        first_midnight=FIRST_MIDNIGHT,
        notes=("simulated: no user is real, and the probability of every click is known",),
    )


def _behaviours(world: World, user: Int64, slot: Int64, start: Int64, draws: Draws) -> Behaviours:
    """The behaviours of visits (V,)."""
    number = 1 + np.searchsorted(LENGTHS, draws.uniform(len(user)), side="right")
    visit = np.repeat(np.arange(len(user)), number)
    gap = 30 + draws.below(270, len(visit))  # seconds since the one before, or since the visit began
    passed, first = np.cumsum(gap), np.cumsum(number) - number
    return Behaviours(
        user=user[visit].astype(np.int32),
        item=world.behave(user[visit], slot[visit], draws).astype(np.int32),
        time=start[visit] + passed - (passed - gap)[first][visit],
    )


def _shown(world: World, user: Int64, slot: Int64, start: Int64, kept: float, seed: int) -> Shown:
    """What was shown in visits (V,), and whether it was clicked.

    Everything is drawn for all pages first, so that logs of other shares `kept` are parts of one and the same.
    """
    draws = Draws(5, seed)
    day = slot // A_DAY
    logged = (draws.uniform(len(user)) < kept) | (day > LAST_TRAINED)
    page = np.flatnonzero((day >= FIRST_SHOWN) & (draws.uniform(len(user)) < PAGE))
    moment = start[page] + np.where(draws.uniform(len(page)) < ENTRY, 0, draws.below(1_500, len(page)))
    by_time = np.lexsort((user[page], moment))
    page, moment = page[by_time], moment[by_time]

    number = 1 + np.searchsorted(ADS, draws.uniform(len(page)), side="right")
    row = np.repeat(np.arange(len(page)), number)
    item = world.advertise(user[page][row], moment[row], draws)
    _, once = np.unique(row * len(world.goods.category) + item, return_index=True)  # a page shows an ad once
    once.sort()
    row, item = row[once], item[once]
    position = 1 + np.arange(len(row)) - np.searchsorted(row, row)
    chance = Draws(6, seed).uniform(len(row))

    keep = logged[page][row]
    row, item, position, chance = row[keep], item[keep], position[keep], chance[keep]
    who, time = user[page][row], moment[row]
    hour = (time - FIRST_MIDNIGHT) % DAY // 3_600 + 1
    context = {"hour": hour.astype(np.int32), "position": position.astype(np.int32)}
    probability = world.probability(who, time, item, context)
    return Shown(
        user=who.astype(np.int32),
        item=item.astype(np.int32),
        time=time,
        label=(chance < probability).astype(np.int8),
        target={"campaign": world.goods.campaign[item]},
        context=context,
        probability=probability,
    )


def _goods(size: MarketSize, draws: Draws) -> Goods:
    count, categories = size.goods, size.categories
    popular = np.cumsum(1_000_000 // (np.arange(1, categories + 1) + 9))  # of categories
    every = np.arange(categories * STYLES)  # each style of each category has a good
    free = count - len(every)
    category = np.searchsorted(popular, draws.below(int(popular[-1]), free), side="right")
    group = np.sort(np.concatenate([every, STYLES * category + draws.below(STYLES, free)]))
    category, style = group // STYLES + 1, group % STYLES + 1
    shop = STYLES * ((category - 1 + draws.below(3, count)) % categories) + style

    quality = draws.noise(count)
    first_of_category = np.diff(category, prepend=0) > 0
    advertised = (draws.uniform(count) < ADVERTISED) | first_of_category
    strength = 0.3 * draws.noise(2 * categories * STYLES + 1)
    campaign = np.where(advertised, 2 * (shop - 1) + 1 + draws.below(2, count), 0)
    other = draws.uniform(categories, categories)
    np.fill_diagonal(other, 2)  # no category is its own successor
    successors = 1 + np.argsort(other, axis=1, kind="stable")[:, :SUCCESSORS]
    gender = draws.below(4, categories + 1) % 3  # half of the categories are for both

    def weights() -> Int64:
        """1 / ((c + 9) rank), as integers: sums of integers are exact."""
        score = quality + draws.noise(count)
        order = np.lexsort((-score, category))
        rank = np.empty(count, np.int64)
        rank[order] = np.arange(count) - np.searchsorted(category, category)[order] + 1
        return 10_000_000 // ((category + 9) * rank) + 1

    def from_one(values: NDArray[Any]) -> Int64:
        return np.concatenate([[0], values])

    return Goods(
        category=from_one(category).astype(np.int32),
        style=from_one(style),
        shop=from_one(shop).astype(np.int32),
        campaign=from_one(campaign).astype(np.int32),
        appeal=np.concatenate([[0.0], QUALITY * quality + np.where(advertised, strength[campaign], 0.0)]),
        successors=np.concatenate([np.zeros((1, SUCCESSORS)), successors]).astype(np.int16),
        gender=gender,
        bounds=np.searchsorted(group, np.arange(categories * STYLES + 1)),
        weight=np.cumsum(from_one(weights())),
        ad_weight=np.cumsum(from_one(weights() * advertised)),
    )


def _interests(goods: Goods, gender: Int64, draws: Draws) -> tuple[Int16, Int16]:
    """The focus (U, SLOTS) and the tastes (U, SLOTS, TASTES) of users, slot by slot."""
    users = len(gender)

    def any_category(user: NDArray[Any]) -> Int32:
        all_goods = np.zeros((2, len(user)), np.int64)
        one, two = (goods.category[goods.draw(draws, zero, zero)] for zero in all_goods)
        return np.where(goods.gender[one] == 3 - gender[user], two, one)

    everybody = np.arange(users)
    now = np.stack([any_category(everybody) for _ in range(TASTES)], axis=1).astype(np.int16)
    at = now[:, 0].copy()
    focus, tastes = np.empty((users, SLOTS), np.int16), np.empty((users, SLOTS, TASTES), np.int16)
    focus[:, 0], tastes[:, 0] = at, now
    for slot in range(1, SLOTS):
        moving = np.flatnonzero(draws.uniform(users) < MOVE)
        kind, many = draws.uniform(len(moving)), len(moving)
        successor = goods.successors[at[moving], draws.below(SUCCESSORS, many)]
        taste = now[moving, draws.below(TASTES, many)]
        elsewhere = np.where(kind < TO_SUCCESSOR + TO_TASTE, taste, any_category(moving))
        at[moving] = np.where(kind < TO_SUCCESSOR, successor, elsewhere)
        new = ~(now[moving] == at[moving, None]).any(1) & (draws.uniform(many) < NEW_TASTE)
        now[moving[new], draws.below(TASTES, many)[new]] = at[moving[new]]
        focus[:, slot], tastes[:, slot] = at, now
    return focus, tastes


def _size(size: str | MarketSize) -> MarketSize:
    if isinstance(size, MarketSize):
        return size
    if size not in SIZES:
        raise unknown_name("size of the market", size, SIZES)
    return SIZES[size]


def _spec(name: str, size: str, steps: int | None = None) -> ImpressionSpec:
    def read(data_dir: Path, scratch: Path, users: float = 1.0) -> Impressions:
        if users != 1:
            raise UserError(f"{name} is made, not sampled: make a smaller one with make_market(MarketSize(...))")
        return make_market(size)

    return ImpressionSpec(
        name=name,
        title=f"Simulated display-advertising market, {size}",
        licence="made by this program",
        source="made on the spot",
        expected={"users": SIZES[size].users, "items": SIZES[size].goods},
        read=read,
        download_bytes=0,
        steps=steps,
    )


# Optimiser steps where three passes are too many: on 390,000 impressions the validation day is best after one.
STEPS = {"6k": 600, "24k": 600, "97k": 1_000, "390k": 3_800, "1550k": 15_200}  # at batch 128
SIZE_OF = {"market": "small"} | {f"market-{size}": size for size in SIZES if size != "small"}  # by data set
MARKETS = {name: _spec(name, size, STEPS.get(size)) for name, size in SIZE_OF.items()}
