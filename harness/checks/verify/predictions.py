"""Checks that the kept masks are what the kept networks predict.

    weights.safetensors ─► network ─► a mask for each test volume ─► masks/<case>.npz

Other processors sum in another order, so that voxels at half a probability may change sides. A mask
that differs in more than these was not made by its network.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from harness.checks.verify.inspection import Inspection
from harness.checks.verify.trial import Trial
from harness.data.cache import open_volume
from harness.data.wording import counted
from harness.errors import DataError, StateError
from harness.runs.run_folder import RunFolder
from harness.runs.spec import Device
from harness.systems.methods import UnsoundPrediction
from harness.trials.network import as_scored, threads_of

FEW = 10  # voxels that may differ in any mask
SHARE = 0.02  # of the voxels of either mask that may differ beyond these


def check_predictions(
    trial: Trial, cases: Sequence[str], keys: dict[str, str], cache: Path,
    folder: RunFolder, found: Inspection,
) -> None:  # fmt: skip
    """Predict each test case again; a fault for each mask that differs by more than rounding.

    `keys` are the entries of `cases` in the `cache`. Trials without a network here are left out:
    `harness.checks.verify.trial` and `outcome` tell of these.
    """
    if trial.spec is None or trial.spec.given or trial.method is None:
        return
    device: Device = "cuda" if trial.spec.device == "cuda" and torch.cuda.is_available() else "cpu"
    before = torch.get_num_threads()
    try:
        method = as_scored(folder.path, trial.folder.id, device).method
        torch.set_num_threads(threads_of(folder.path, trial.folder.id))
        for case in cases:
            volume = open_volume(cache, keys.get(case, "no-entry"))
            kept = trial.folder.mask(case, volume.label.shape)
            again = method.at(case).segment(volume.image)
            apart = int(np.count_nonzero(kept != again))
            either = int(np.count_nonzero((kept | again) > 0))
            if apart > FEW + SHARE * either:
                what = f"its network predicts another mask: {counted(apart, 'voxel')} differ"
                found.fault(trial.folder.mask_path(case), what)
    except UnsoundPrediction as error:
        found.fault(trial.folder.weights_file, f"gives no sound prediction: {error}")
    except (DataError, StateError):
        return  # of files that other checks have named
    finally:
        torch.set_num_threads(before)
