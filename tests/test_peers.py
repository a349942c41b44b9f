"""The tables of docs/metrics.md against the tools that they speak of, as far as these are here."""

import re
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import pytest
from helper_documents import TOP

from harness.systems.metrics import score

Measure = Callable[[np.ndarray, np.ndarray, tuple[float, float, float]], Any]
PAGE = (TOP / "docs" / "metrics.md").read_text()
TOLERANCE_MM = 1.0


class Column(NamedTuple):
    """What fills one column of a table."""

    distribution: str  # as pip calls it
    module: str  # without which the column cannot be computed
    measure: Measure


def ours(field: str) -> Column:
    return Column("pfbench", "harness", lambda *pair: getattr(score(*pair), field))


def medpy(name: str) -> Column:
    def measure(pred, target, spacing):
        from medpy.metric import binary

        arguments = (spacing,) if name == "hd95" else ()
        return getattr(binary, name)(pred, target, *arguments)

    return Column("medpy", "medpy", measure)


def monai(name: str, needs_spacing: bool = False, **options: Any) -> Column:
    def measure(pred, target, spacing):
        import torch
        from monai import metrics

        if needs_spacing:
            options["spacing"] = spacing
        tensors = (torch.from_numpy(mask)[None, None] for mask in (pred, target))
        return getattr(metrics, name)(*tensors, include_background=True, **options).item()

    return Column("monai", "monai", measure)


def surface_distance(measure: Measure) -> Column:
    return Column("surface-distance", "surface_distance", measure)


def _deepmind_dice(pred, target, spacing):
    return import_module("surface_distance").compute_dice_coefficient(target, pred)


def _deepmind_hd95(pred, target, spacing):
    library = import_module("surface_distance")
    distances = library.compute_surface_distances(target, pred, spacing)
    return library.compute_robust_hausdorff(distances, 95)


def _deepmind_surface_dice(pred, target, spacing):
    library = import_module("surface_distance")
    distances = library.compute_surface_distances(target, pred, spacing)
    return library.compute_surface_dice_at_tolerance(distances, TOLERANCE_MM)


def torchmetrics(name: str, needs_spacing: bool = False) -> Column:
    def measure(pred, target, spacing):
        import torch
        from torchmetrics.functional import segmentation

        options = {"spacing": list(spacing)} if needs_spacing else {}
        tensors = (torch.from_numpy(mask)[None, None].int() for mask in (pred, target))
        function = getattr(segmentation, name)
        return function(*tensors, num_classes=1, include_background=True, **options).item()

    return Column("torchmetrics", "torchmetrics.segmentation", measure)


def seg_metrics(name: str) -> Column:
    def measure(pred, target, spacing):
        from seg_metrics.seg_metrics import write_metrics

        [row] = write_metrics(
            labels=[1], pred_img=pred.astype(np.uint8), gdth_img=target.astype(np.uint8),
            spacing=spacing, metrics=[name],
        )  # fmt: skip
        return row[name][0]

    return Column("seg-metrics", "seg_metrics.seg_metrics", measure)


class Arrays:
    """Stands where nnU-Net has a reader of files, and reads what it is given."""

    def read_seg(self, mask: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
        return mask[None].astype(np.uint8), {}


def nnunet(name: str) -> Column:
    def measure(pred, target, spacing):
        from nnunetv2.evaluation.evaluate_predictions import compute_metrics

        return compute_metrics(target, pred, Arrays(), [1])["metrics"][1][name]

    return Column("nnunetv2", "nnunetv2.evaluation.evaluate_predictions", measure)


def panoptica(metric: str, result: str) -> Column:
    def measure(pred, target, spacing):
        library = import_module("panoptica")
        evaluator = library.Panoptica_Evaluator(
            expected_input=library.InputType.SEMANTIC,
            instance_approximator=library.ConnectedComponentsInstanceApproximator(),
            instance_matcher=library.NaiveThresholdMatching(),
            global_metrics=[library.Metric[metric]],
        )
        masks = (mask.astype(np.uint8) for mask in (pred, target))
        return getattr(evaluator.evaluate(*masks, voxelspacing=spacing)["ungrouped"], result)

    return Column("panoptica", "panoptica", measure)


def simpleitk(filter_name: str, result: str) -> Column:
    def measure(pred, target, spacing):
        import SimpleITK

        images = [SimpleITK.GetImageFromArray(mask.astype(np.uint8)) for mask in (target, pred)]
        for image in images:
            image.SetSpacing(spacing[::-1])
        chosen = getattr(SimpleITK, filter_name)()
        chosen.Execute(*images)
        return getattr(chosen, result)()

    return Column("SimpleITK", "SimpleITK", measure)


def simpleitk_objects(pred, target, spacing):
    import SimpleITK

    image = SimpleITK.GetImageFromArray(target.astype(np.uint8))
    return SimpleITK.GetArrayFromImage(SimpleITK.ConnectedComponent(image)).max()


def scipy_objects(pred, target, spacing):
    return import_module("scipy.ndimage").label(target)[1]


def scikit_image_objects(pred, target, spacing):
    return import_module("skimage.measure").label(target).max()


def monai_objects(pred, target, spacing):
    """How often the largest object fits into a mask whose objects are of one size."""
    import torch
    from monai.transforms import KeepLargestConnectedComponent

    mask = torch.from_numpy(target)[None].float()
    return mask.sum() / KeepLargestConnectedComponent()(mask).sum()


overlap = partial(simpleitk, "LabelOverlapMeasuresImageFilter")
TABLES: dict[str, dict[str, Column]] = {
    "Dice": {
        "pfbench": ours("dice"),
        "medpy": medpy("dc"),
        "MONAI": monai("compute_dice"),
        "surface-distance": surface_distance(_deepmind_dice),
        "torchmetrics": torchmetrics("dice_score"),
        "seg-metrics": seg_metrics("dice"),
        "nnU-Net": nnunet("Dice"),
        "panoptica": panoptica("DSC", "global_bin_dsc"),
        "SimpleITK": overlap("GetDiceCoefficient"),
    },
    "Jaccard": {
        "pfbench": ours("jaccard"),
        "medpy": medpy("jc"),
        "MONAI": monai("compute_iou"),
        "torchmetrics": torchmetrics("mean_iou"),
        "seg-metrics": seg_metrics("jaccard"),
        "nnU-Net": nnunet("IoU"),
        "panoptica": panoptica("IOU", "global_bin_iou"),
        "SimpleITK": overlap("GetJaccardCoefficient"),
    },
    "HD95": {
        "pfbench": ours("hd95_mm"),
        "pfbench `hd95_max`": ours("hd95_max_mm"),
        "pfbench `hd95_official`": ours("hd95_official"),
        "medpy": medpy("hd95"),
        "MONAI": monai("compute_hausdorff_distance", needs_spacing=True, percentile=95),
        "surface-distance": surface_distance(_deepmind_hd95),
        "torchmetrics (maximum)": torchmetrics("hausdorff_distance", needs_spacing=True),
        "seg-metrics": seg_metrics("hd95"),
        "panoptica": panoptica("HD95", "global_bin_hd95"),
        "SimpleITK (maximum)": simpleitk("HausdorffDistanceImageFilter", "GetHausdorffDistance"),
    },
    "Surface Dice": {
        "MONAI": monai(
            "compute_surface_dice", needs_spacing=True, class_thresholds=[TOLERANCE_MM]
        ),
        "MONAI `use_subvoxels`": monai(
            "compute_surface_dice", needs_spacing=True, class_thresholds=[TOLERANCE_MM],
            use_subvoxels=True,
        ),
        "surface-distance": surface_distance(_deepmind_surface_dice),
        "panoptica": panoptica("NSD", "global_bin_nsd"),
    },
    "Objects": {
        "MONAI": Column("monai", "monai", monai_objects),
        "panoptica": panoptica("DSC", "n_ref_instances"),
        "SimpleITK": Column("SimpleITK", "SimpleITK", simpleitk_objects),
        "scikit-image": Column("scikit-image", "skimage", scikit_image_objects),
        "SciPy": Column("scipy", "scipy", scipy_objects),
    },
}  # fmt: skip


def shown(title: str) -> dict[str, dict[str, str]]:
    """The table of a section of the page: column -> name of a pair -> cell."""
    [section] = re.findall(rf"^## {title}$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    rows = [[cell.strip() for cell in line.strip("|").split("|")]
            for line in section.splitlines() if line.startswith("|")]  # fmt: skip
    heading, _, *body = rows
    return {
        name: {row[0]: row[place] for row in body} for place, name in enumerate(heading) if place
    }


def pairs() -> dict[str, Any]:
    """The masks that the page makes, by the code that it shows."""
    [code] = re.findall(r'^```python title="pairs.py"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL)
    made: dict[str, Any] = {}
    exec(code, made)
    return made["PAIRS"]


def cell(measure: Measure, pair: Any) -> str:
    """What a tool says of a pair, or the name of what it raises."""
    try:
        return f"{float(measure(*pair)):.4g}"
    except Exception as fault:  # whatever it raises is the finding
        return f"`{type(fault).__name__}`"


def marks(column: Column) -> Any:
    return () if column.distribution == "pfbench" else pytest.mark.long


COLUMNS = [
    pytest.param(title, name, marks=marks(column), id=f"{title}: {name}")
    for title, table in TABLES.items()
    for name, column in table.items()
]


@pytest.mark.parametrize("title, name", COLUMNS)
def test_a_column_of_the_page_is_what_the_tool_says(title, name, monkeypatch):
    column = TABLES[title][name]
    with warnings.catch_warnings(action="ignore"):  # of other people's code
        pytest.importorskip(column.module)
        monkeypatch.delattr(np, "Inf", raising=False)  # torchmetrics brings it back, for everybody
        cells = shown(title)[name]
        seen = {pair: cell(column.measure, pairs()[pair]) for pair in cells}
    assert seen == cells, f"{column.distribution} {version(column.distribution)}"


@pytest.mark.parametrize("title", TABLES)
def test_every_column_of_the_page_is_computed(title):
    assert shown(title).keys() == TABLES[title].keys()


@pytest.mark.parametrize("title", [title for title in TABLES if title != "Objects"])
def test_every_pair_of_the_page_stands_in_its_tables(title):
    assert all(cells.keys() == pairs().keys() for cells in shown(title).values())
