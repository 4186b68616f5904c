"""What is bought where: categories of shops, places, and made-up names. All figures are assumptions of ours."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Category:
    """One kind of shop.

    `share` is its part of the purchases of its group (at the counter, at a distance, recurring); `median` and `sigma`
    describe its amounts in yen; `shops` is their number in one area, or in the whole country for sales at a distance;
    `explores` is how often a holder goes to another shop than the usual ones.
    """

    mcc: int
    noun: tuple[str, str]  # Latin, Japanese
    share: float
    median: float
    sigma: float
    shops: int
    explores: float
    channel: str
    transaction_type: str = "purchase"
    step: int = 1  # amounts are multiples of it
    posts_without_authorization: bool = False


def _counter(mcc: int, noun: tuple[str, str], *figures: float, step: int = 1) -> Category:
    share, median, sigma, shops, explores = figures
    return Category(mcc, noun, share, median, sigma, int(shops), explores, "card_present", step=step)


def _online(mcc: int, noun: tuple[str, str], *figures: float, step: int = 10) -> Category:
    share, median, sigma, shops, explores = figures
    return Category(mcc, noun, share, median, sigma, int(shops), explores, "ecommerce", step=step)


def _recurring(mcc: int, noun: tuple[str, str], *figures: float, posts: bool = False) -> Category:
    share, median, sigma, shops = figures
    return Category(
        mcc, noun, share, median, sigma, int(shops), 0.0, "ecommerce", step=10, posts_without_authorization=posts
    )


AT_COUNTER: tuple[Category, ...] = (
    _counter(5411, ("Market", "マーケット"), 0.200, 2_600, 0.6, 40, 0.06),
    _counter(5499, ("Konbini", "ストア"), 0.200, 750, 0.5, 60, 0.15),
    _counter(5812, ("Shokudo", "食堂"), 0.130, 3_200, 0.7, 150, 0.45),
    _counter(5814, ("Coffee", "珈琲"), 0.100, 850, 0.4, 60, 0.25),
    _counter(5541, ("Energy", "石油"), 0.050, 5_200, 0.35, 20, 0.10),
    _counter(4111, ("Railway", "鉄道"), 0.085, 1_200, 0.9, 8, 0.10, step=10),
    _counter(7523, ("Parking", "パーキング"), 0.030, 600, 0.6, 60, 0.50, step=100),
    _counter(5912, ("Drug", "薬局"), 0.070, 1_800, 0.6, 40, 0.15),
    _counter(5651, ("Wear", "衣料"), 0.040, 6_800, 0.7, 60, 0.40),
    _counter(5311, ("Department", "百貨店"), 0.030, 7_500, 0.8, 8, 0.20),
    _counter(5200, ("Home Centre", "ホームセンター"), 0.025, 3_800, 0.8, 15, 0.20),
    _counter(5732, ("Denki", "電器"), 0.012, 15_000, 1.1, 12, 0.30),
    _counter(8062, ("Clinic", "クリニック"), 0.020, 3_500, 0.7, 40, 0.20, step=10),
    _counter(5977, ("Cosme", "コスメ"), 0.010, 4_200, 0.6, 20, 0.30),
    _counter(7011, ("Hotel", "ホテル"), 0.005, 18_000, 0.6, 30, 0.70, step=100),
    _counter(7832, ("Cinema", "シネマ"), 0.008, 2_400, 0.4, 5, 0.20, step=100),
    Category(6011, ("ATM", "ATM"), 0.005, 30_000, 0.7, 10, 0.30, "atm", transaction_type="withdrawal", step=1_000),
)

AT_A_DISTANCE: tuple[Category, ...] = (
    _online(5399, ("Ichiba Online", "市場オンライン"), 0.240, 3_800, 0.9, 120, 0.12),
    _online(5651, ("Wear Online", "衣料オンライン"), 0.100, 6_500, 0.6, 250, 0.35),
    _online(5977, ("Cosme Online", "コスメオンライン"), 0.070, 5_200, 0.5, 150, 0.30),
    _online(5732, ("Denki Online", "電器オンライン"), 0.060, 14_000, 1.1, 120, 0.35),
    _online(5816, ("Games", "ゲームス"), 0.120, 1_600, 0.9, 80, 0.15),
    _online(5815, ("Media", "メディア"), 0.070, 900, 0.6, 60, 0.15),
    _online(7922, ("Tickets", "チケット"), 0.040, 9_500, 0.5, 60, 0.30, step=100),
    _online(7011, ("Stay Reservations", "宿泊予約"), 0.040, 21_000, 0.6, 150, 0.50, step=100),
    _online(4722, ("Travel", "トラベル"), 0.030, 28_000, 0.7, 40, 0.30),
    _online(6540, ("Charge", "チャージ"), 0.040, 5_000, 0.6, 12, 0.10, step=1_000),
    _online(5411, ("Net Super", "ネットスーパー"), 0.060, 5_600, 0.4, 30, 0.10),
    _online(5814, ("Delivery", "出前"), 0.060, 2_600, 0.4, 40, 0.30),
    _online(5942, ("Books", "書房"), 0.050, 2_200, 0.6, 60, 0.25),
    _online(5712, ("Interior", "インテリア"), 0.050, 6_500, 0.9, 150, 0.40),
    _online(5912, ("Supplements", "健康堂"), 0.040, 3_900, 0.6, 120, 0.30),
    Category(5964, ("Telephone Shopping", "通信販売"), 0.010, 6_000, 0.5, 60, 0.40, "moto", step=10),
)

RECURRING: tuple[Category, ...] = (
    _recurring(4814, ("Mobile", "モバイル"), 0.25, 6_800, 0.4, 8, posts=True),
    _recurring(4900, ("Power and Gas", "電力ガス"), 0.20, 9_500, 0.5, 15, posts=True),
    _recurring(6300, ("Insurance", "保険"), 0.12, 8_500, 0.6, 25, posts=True),
    _recurring(4899, ("Streaming", "配信"), 0.25, 1_080, 0.35, 30),
    _recurring(7997, ("Fitness", "フィットネス"), 0.06, 7_800, 0.3, 60),
    _recurring(4816, ("Internet", "ネット"), 0.12, 4_700, 0.3, 15),
)

CATEGORIES: tuple[Category, ...] = AT_COUNTER + AT_A_DISTANCE + RECURRING

AREAS: tuple[str, ...] = (
    "Kawabe", "Minatomachi", "Hoshigaoka", "Aoyanagi", "Takamine", "Sakaori",
    "Umibe", "Kitazato", "Nagisa", "Tsukimi", "Asahidai", "Higashimori",
)  # fmt: skip

# Country, currency, yen for one unit of it (rounded rates of August 2022), decimals of its minor unit.
COUNTRIES: tuple[tuple[str, str, float, int], ...] = (
    ("JP", "JPY", 1.0, 0),
    ("US", "USD", 135.0, 2),
    ("KR", "KRW", 0.103, 0),
    ("TW", "TWD", 4.5, 2),
    ("GB", "GBP", 162.0, 2),
    ("SG", "SGD", 98.0, 2),
    ("FR", "EUR", 137.0, 2),
)

# Made-up names: no shop of the simulator is a real one.
STEMS: tuple[tuple[str, str], ...] = (
    ("Aonami", "青波屋"), ("Kazehana", "風花"), ("Tsukishiro", "月白"), ("Mizunashi", "水無"), ("Hoshikage", "星影"),
    ("Komorebi", "木漏日"), ("Yukinami", "雪並"), ("Asagiri", "朝霧屋"), ("Minamo", "水面"), ("Kirishiro", "霧城"),
    ("Tsuyukusa", "露草"), ("Wakanae", "若苗"), ("Hinatano", "日向野"), ("Murasame", "村雨"), ("Kogarashi", "木枯"),
    ("Nanohana", "菜花"), ("Shiranami", "白波屋"), ("Tokiwagi", "常磐木"), ("Usugumo", "薄雲"), ("Yamakage", "山影屋"),
    ("Akenohoshi", "明星屋"), ("Harukaze", "春風屋"), ("Inaho", "稲穂"), ("Sasanoha", "笹葉"), ("Fukamidori", "深緑"),
    ("Hatsuyuki", "初雪屋"), ("Kumonoue", "雲上"), ("Matsukaze", "松風屋"), ("Nijiiro", "虹色屋"), ("Otoha", "音羽屋"),
)  # fmt: skip

FOREIGN_STEMS: tuple[str, ...] = (
    "Alderwick", "Brightmoor", "Calder Lane", "Dunmarrow", "Elmsworth", "Fairlough", "Greywater", "Hollenby",
    "Ivorstone", "Juniper Row", "Kestrelby", "Larkmead", "Merrowdale", "Northquay", "Oakhallow", "Pinecrest Lane",
)  # fmt: skip

SHOP_NAME = "Hanamori Cosme Online"
SHOP_MCC = 5977
