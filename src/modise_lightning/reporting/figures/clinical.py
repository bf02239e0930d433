"""Figures of what ``metrics=clinical`` measures: ROC curves of cases, and sensitivity by stratum."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from modise_lightning.errors import UserError
from modise_lightning.metrics.clinical.strata import pool_strata
from modise_lightning.metrics.patients.scored_cases import ScoredCases
from modise_lightning.metrics.patients.weighted_ranking import OperatingPoints
from modise_lightning.metrics.records.evaluation_records import ReadRecords, read_records
from modise_lightning.reporting.clinical.model_folds import clinical_rows, read_case_statistics, result_of
from modise_lightning.reporting.cross_validation.models import Summary
from modise_lightning.reporting.cross_validation.table import DatasetTable
from modise_lightning.reporting.figures.caption import caption_of, fold_note
from modise_lightning.reporting.figures.panel_text import write_areas
from modise_lightning.reporting.figures.sheet import (
    FULL_WIDTH,
    draw_band,
    fit_titles,
    letter_panels,
    make_sheet,
    model_legend,
    settle_layout,
)
from modise_lightning.reporting.figures.style import figure_style, line_style

_RATES = np.linspace(0, 1, 201)  # where the folds' curves are averaged; chosen: steps look like steps
_LINE_HEIGHT = 0.24  # inches of a stratum


def roc_data(table: DatasetTable, read: ReadRecords = read_records) -> pd.DataFrame:
    """Compute the ROC curves of cases, a row a model, kind of case and false-positive rate.

    The sensitivity at a rate is the highest of the cuts with at most that rate, averaged over the folds with
    both positive and negative cases.

    Args:
        table: Of one dataset.
        read: Reads the records of a folder.

    Raises:
        UserError: No run was evaluated with ``metrics=clinical``, or no fold has cases of both kinds.
    """
    frames = []
    reasons: dict[str, None] = {}
    for row in clinical_rows(table):
        folds = [read_case_statistics(row, fold, read) for fold in row.runs]
        for level in ("breast", "patient"):
            curves, areas, no_case = [], [], f"no {level} is a case"
            for fold in folds:
                cases = fold.statistics.get(level)
                if not isinstance(cases, ScoredCases) or len(set(cases.positive.tolist())) < 2:
                    reasons[fold.missing.get(level) or fold.why_undefined.get(level, no_case)] = None
                    continue
                points = OperatingPoints.of(cases.scores, cases.positive, np.ones((1, len(cases.scores))))
                rate, sensitivity = points.false_positive_rate[0], points.sensitivity[0]
                curves.append(sensitivity[np.searchsorted(rate, _RATES, side="right") - 1])
                areas.append(float(points.roc_area()[0]))
            if not curves:
                continue
            summaries = [Summary.of(values) for values in np.stack(curves, axis=1).tolist()]
            area = Summary.of(areas)
            frames.append(
                pd.DataFrame(
                    {
                        "model": row.label,
                        "case": level,
                        "false_positive_rate": _RATES,
                        "sensitivity": [each.mean for each in summaries],
                        "sensitivity_std": [each.deviation for each in summaries],
                        "num_folds": area.count,
                        "area": area.mean,
                        "area_std": area.deviation,
                    }
                )
            )
    if not frames:
        raise UserError(f"figures: roc cannot be drawn: {'; '.join(reasons)}.")
    return pd.concat(frames, ignore_index=True)


def draw_roc(table: DatasetTable, data: pd.DataFrame) -> Figure:
    """Draw a panel for breasts and one for patients, as far as there are any.

    Args:
        table: Of the dataset.
        data: Of ``roc_data``.
    """
    models = data["model"].unique().tolist()
    levels = data["case"].unique().tolist()
    caption = caption_of(table).of(
        "ROC of cases",
        fold_note(table),
        "A case has the highest score of its suspicious instances. Dotted: chance. AUC: mean over folds of "
        "the area under each one's own curve, with straight lines between its cuts.",
    )
    with figure_style():
        figure, axes = make_sheet(
            1,
            len(levels),
            width=max(FULL_WIDTH * len(levels) / 3, 3.0),
            panel_height=2.2,
            caption=caption,
            legend=model_legend(models),
            sharex=True,
            sharey=True,
        )
        for position, level in enumerate(levels):
            axis, areas = axes.flat[position], []
            axis.plot([0, 1], [0, 1], color="0.6", linestyle=":", linewidth=0.8)
            for index, model in enumerate(models):
                own = data[(data["case"] == level) & (data["model"] == model)]
                if own.empty:
                    areas.append((float("nan"), float("nan")))
                    continue
                rate, mean, deviation = (
                    own[name].to_numpy() for name in ("false_positive_rate", "sensitivity", "sensitivity_std")
                )
                style = line_style(index)
                axis.plot(rate, mean, markevery=40, zorder=3, clip_on=False, **style)
                draw_band(axis, rate, mean, deviation, highest=1, color=style["color"])
                areas.append((own["area"].iloc[0], own["area_std"].iloc[0]))
            axis.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="False-positive rate")
            axis.set_ylabel("Sensitivity" if position == 0 else "")
            write_areas(axis, "AUC", areas, ("lower right", "upper left"))
            axis.set_title(f"{level}s")
        letter_panels(axes)
        settle_layout(figure)
        fit_titles(figure, axes)
    return figure


def strata_data(table: DatasetTable) -> pd.DataFrame:
    """Count the lesions of each stratum, all folds together, a row a model and level.

    Args:
        table: Of one dataset.

    Raises:
        UserError: No run was evaluated with ``metrics=clinical``, or no image has a lesion.
    """
    rows = []
    for row in clinical_rows(table):
        results = [result_of(row, fold) for fold in row.runs]
        for stratum in pool_strata([each.strata for each in results]):
            low, high = stratum.interval(results[0].settings["confidence"])
            rows.append(
                {
                    "model": row.label,
                    "by": stratum.by,
                    "level": stratum.level,
                    "lesions": stratum.lesions,
                    "found": stratum.found,
                    "sensitivity": stratum.sensitivity,
                    "low": low,
                    "high": high,
                    "mean_iou": stratum.mean_iou,
                }
            )
    if not rows:
        raise UserError("figures: strata cannot be drawn: no test image has a lesion.")
    return pd.DataFrame(rows)


def draw_strata(table: DatasetTable, data: pd.DataFrame) -> Figure:
    """Draw the sensitivity of each stratum with its interval, a line a level.

    Args:
        table: Of the dataset.
        data: Of ``strata_data``.
    """
    models = data["model"].unique().tolist()
    keys = list(dict.fromkeys(zip(data["by"], data["level"], strict=True)))
    caption = caption_of(table).of(
        "Lesions found, by stratum",
        "All folds together, at each evaluation's best T. Bars: Wilson's intervals, as if lesions were "
        "independent. In brackets: lesions.",
    )
    with figure_style():
        figure, axes = make_sheet(
            1,
            1,
            width=FULL_WIDTH * 0.7,
            panel_height=max(1.2, _LINE_HEIGHT * len(keys)),
            caption=caption,
            legend=model_legend(models),
        )
        axis = axes.flat[0]
        for index, model in enumerate(models):
            own = data[data["model"] == model].set_index(["by", "level"])
            shown = [key for key in keys if key in own.index]
            values = own.loc[shown]
            offset = 0.0 if len(models) == 1 else 0.5 * (index / (len(models) - 1) - 0.5)
            places = np.array([keys.index(key) for key in shown]) + offset
            style = {**line_style(index), "linestyle": "none"}
            middle = values["sensitivity"].to_numpy()
            errors = np.array([middle - values["low"], values["high"] - middle])
            axis.errorbar(middle, places, xerr=np.maximum(errors, 0), elinewidth=0.9, **style)
        number = data.drop_duplicates(["by", "level"]).set_index(["by", "level"])["lesions"]
        names = [
            f"{level} ({number[by, level]})" if by == "all" else f"{by}: {level} ({number[by, level]})"
            for by, level in keys
        ]
        axis.set_yticks(range(len(keys)), names)
        axis.set(xlim=(-0.02, 1.02), ylim=(len(keys) - 0.5, -0.5), xlabel="Sensitivity")
        settle_layout(figure)
    return figure
