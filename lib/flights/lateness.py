"""How often flights leave late, by whatever they have in common, with the uncertainty that days bring.

Flights of one day share its weather and its queues: 27,000 flights of a month say less than 27,000 independent trials
would. All intervals here take the *day* as the unit.
"""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes

from flights.board import LATE, ZONE

NORMAL_95 = 1.96  # standard errors to either side of a mean that hold it in 95 of 100 samples


def with_lateness(flights: pd.DataFrame) -> pd.DataFrame:
    """Flights with the label `late` (bool) and the local (New York) `day`, `month`, `weekday`, `hour` of the schedule.

    `late`: left `LATE` (15) or more minutes after the schedule, or not at all.
    """
    local = flights["scheduled_departure"].dt.tz_convert(ZONE)
    return flights.assign(
        late=flights["cancelled"] | (flights["dep_delay"] >= LATE),
        day=local.dt.tz_localize(None).dt.normalize(),
        month=local.dt.strftime("%Y-%m"),
        weekday=local.dt.day_name().str[:3],
        hour=local.dt.hour,
    )


def with_weather(flights: pd.DataFrame, weather: pd.DataFrame, ahead: pd.Timedelta) -> pd.DataFrame:
    """Flights with the last observation at their airport that was known `ahead` of the scheduled hour.

    A stamp is an observation's time cut to the hour, so it counts as known one hour later. What has been known for more
    than three hours is not used: the measures are missing then.
    """
    decided = flights["scheduled_departure"].dt.floor("h") - ahead
    return pd.merge_asof(
        flights.assign(decided=decided).sort_values("decided", kind="stable"),
        weather.assign(known=weather["observed"] + pd.Timedelta(hours=1)).sort_values("known"),
        left_on="decided",
        right_on="known",
        by="origin",
        tolerance=pd.Timedelta(hours=3),
    )


def late_share(flights: pd.DataFrame, by: str | pd.Series) -> pd.DataFrame:
    """Share of late flights in each group of `by`: columns `flights` (number), `late`, and `low`, `high` (95 %).

    `flights` needs `late` and `day`. The interval is that of a ratio of sums over D days, sum(y) / sum(n) = p, with the
    variance D / (D - 1) * sum((y - p * n)²) / sum(n)² (ratio estimators: Cochran, Sampling Techniques,
    3rd ed. 1977, ch. 6); it is missing for a group that flies on one day only.
    """
    daily = flights.groupby([by, "day"], observed=True)["late"].agg(y="sum", n="size")
    group = daily.index.get_level_values(0)
    total = daily.groupby(group, observed=True).sum()
    share = total["y"] / total["n"]
    residual = daily["y"] - daily["n"] * share.reindex(group).to_numpy()
    days = daily.groupby(group, observed=True).size()
    variance = days / (days - 1).where(days > 1) * (residual**2).groupby(group, observed=True).sum() / total["n"] ** 2
    margin = NORMAL_95 * variance**0.5
    low, high = (share - margin).clip(lower=0), (share + margin).clip(upper=1)
    return pd.DataFrame({"flights": total["n"], "late": share, "low": low, "high": high})


def plot_share(shares: pd.DataFrame, ax: Axes, title: str, label: str, overall: float, color: str = "#0072b2") -> None:
    """Draw what `late_share` found: a point and its interval for each group, the share of all flights as a line."""
    places = range(len(shares))
    late, low, high = (100 * shares[name] for name in ("late", "low", "high"))
    ax.axhline(100 * overall, color="0.45", linewidth=1, linestyle="--")
    ax.errorbar(places, late, yerr=[late - low, high - late], fmt="o", color=color, markersize=4, capsize=2)
    ax.set_xticks(list(places), [str(group) for group in shares.index])
    ax.set_ylim(bottom=0)
    ax.set(title=title, xlabel=label, ylabel="late or cancelled (%)")
    ax.grid(axis="y", alpha=0.3)


def said(shares: pd.DataFrame, group: str | int) -> str:
    """A group's share in words, such as "33.8 % ± 1.9"; without an interval where there is none, of a single day."""
    late, low, high = (float(shares[name][group]) for name in ("late", "low", "high"))
    if math.isnan(low):
        return f"{100 * late:.1f} %"
    return f"{100 * late:.1f} % ± {50 * (high - low):.1f}"
