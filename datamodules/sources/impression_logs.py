"""All logs of impressions by name."""

from datamodules.sources.kuairand import KUAIRAND_1K, KUAIRAND_PURE
from datamodules.sources.market import MARKETS
from datamodules.sources.spec import ImpressionSpec
from datamodules.sources.taobao_ad import TAOBAO_AD

IMPRESSIONS: dict[str, ImpressionSpec] = {
    **MARKETS,
    "taobao-ad": TAOBAO_AD,
    "kuairand-pure": KUAIRAND_PURE,
    "kuairand-1k": KUAIRAND_1K,
}
