"""Describes the Weights & Biases workspace that shows runs of this library; needs ``wandb-workspaces``."""

from __future__ import annotations

from wandb_workspaces import expr
from wandb_workspaces.reports.v2 import interface as wr
from wandb_workspaces.workspaces import interface as ws

from modise_lightning.reporting.evaluation_charts import CURVES
from modise_lightning.reporting.wandb.clinical import SECTION, clinical_key

STEP = "trainer/global_step"


def describe_workspace(entity: str, project: str, name: str = "M-ODISE") -> ws.Workspace:
    """Describe a workspace of runs grouped by experiment; its ``save`` method sends it to the server.

    Args:
        entity: User or team.
        project: As in ``logger.project``.
        name: Of the saved view.
    """
    return ws.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=[
            ws.Section(name="Test", panels=_test_panels(), is_open=True),
            ws.Section(
                name="By IoU threshold",
                panels=[*(_curves(f"test_by_threshold/{metric}_table") for metric in CURVES), _confusion()],
                is_open=True,
            ),
            ws.Section(name="Clinical (metrics=clinical)", panels=_clinical_panels()),
            ws.Section(
                name="Validation",
                panels=[_lines(f"validation/{metric}") for metric in (*CURVES, "dice", "best_threshold")],
                is_open=True,
            ),
            ws.Section(
                name="Predictions",
                panels=[
                    wr.MediaBrowser(title="validation", media_keys=["validation/predictions"], num_columns=3),
                    wr.WeavePanelSummaryTable(table_name="test/predictions"),
                ],
                is_open=True,
            ),
            ws.Section(
                name="Training",
                panels=[_lines(f"train/{loss}") for loss in ("loss", "class", "mask", "dice")],
            ),
        ],
        settings=ws.WorkspaceSettings(x_axis=STEP, remove_legends_from_panels=False),
        runset_settings=ws.RunsetSettings(
            groupby=[expr.Config("name")],
            order=[expr.Ordering(expr.Summary("test/panoptic_quality"), ascending=False)],
            pinned_columns=["config:fold.value", "config:data.value", "summary:test/panoptic_quality"],
        ),
    )


def _test_panels() -> list[wr.PanelTypes]:
    """Bars of each metric at the best threshold, and the numbers behind them by class and threshold."""
    bars = [
        wr.BarPlot(title=metric.replace("_", " "), metrics=[f"test/{metric}"], groupby="name")
        for metric in (*CURVES, "dice")
    ]
    return [*bars, wr.WeavePanelSummaryTable(table_name="test/by_category")]


# Of the many, what a reader asks for first; with the shipped settings.
CLINICAL = (
    "breast AUC",
    "patient AUC",
    "patient sensitivity at 90 % specificity",
    "FROC mask_iou per image, mean",
    "FROC mask_iou per normal image, mean",
    "lesion-wise Dice",
    "lesion-wise surface Dice",
    "PQ area over T",
)


def _clinical_panels() -> list[wr.PanelTypes]:
    """Bars of some numbers of ``metrics=clinical``, and the tables of all of them and of strata."""
    bars = [wr.BarPlot(title=name, metrics=[clinical_key(name)], groupby="name") for name in CLINICAL]
    tables = [wr.WeavePanelSummaryTable(table_name=f"{SECTION}/{name}") for name in ("numbers", "strata")]
    return [*bars, *tables]


def _curves(table: str) -> wr.PanelTypes:
    """Draw the lines of one of W&B's line series."""
    return wr.CustomChart(
        query={"summaryTable": {"tableKey": table}},
        chart_name="wandb/lineseries/v0",
        chart_fields={"step": "step", "lineKey": "lineKey", "lineVal": "lineVal"},
        chart_strings={"title": table.split("/")[-1].removesuffix("_table").replace("_", " ")},
    )


def _confusion() -> wr.PanelTypes:
    return wr.CustomChart(
        query={"summaryTable": {"tableKey": "test/confusion_table"}},
        chart_name="wandb/confusion_matrix/v1",
        chart_fields={"Actual": "Actual", "Predicted": "Predicted", "nPredictions": "nPredictions"},
        chart_strings={"title": "confusion of classes"},
    )


def _lines(metric: str) -> wr.PanelTypes:
    """Draw a metric over the steps, the mean and range over an experiment's folds."""
    return wr.LinePlot(
        title=metric, x=STEP, y=[metric], groupby="name", groupby_aggfunc="mean", groupby_rangefunc="minmax"
    )
