"""The model that MLflow serves: from the intensities of one scan to a mask on its own voxels.

MLflow keeps this file as it is and runs it when it loads the model ("models from code"): nothing
is pickled. Beside it lie the trial's specification, its weights as safetensors, and the packages
of this project, so that a server needs no more than the libraries that the model lists.

A pyfunc and not MLflow's PyTorch flavour: that one stores an exported graph, whose shape is fixed,
while a system is more than a network. How it sees a volume (windows, half resolution, a guidance
patch placed by content, points) and the way from any scan to the grid it was trained on and back
belong to it, and are Python.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from harness.data.datasets import way
from harness.data.scan_view import view_of
from harness.runs.spec import TrialSpec
from harness.trials.checkpoint import parse_weights, put_in
from harness.trials.network import build

SPACING_MM = (1.0, 1.0, 1.0)


class Servable(PythonModel):
    """A trained system on the CPU."""

    def load_context(self, context: PythonModelContext) -> None:
        """Build the network and load its weights. Raises ValueError for changed weights."""
        stored = Path(context.artifacts["spec"]).read_text(encoding="utf-8")
        spec = TrialSpec.model_validate_json(stored).model_copy(update={"device": "cpu"})
        path = Path(context.artifacts["weights"])
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != context.model_config["sha256"]:
            raise ValueError(f"{path.name} is not what the trial wrote: its SHA-256 differs")
        method = build(spec)
        put_in(method.network, parse_weights(content), path)
        self.spec, self.method = spec, method.for_inference()

    def predict(
        self,
        context: PythonModelContext,
        model_input: np.ndarray,
        params: dict[str, Any] | None = None,
    ) -> np.ndarray:
        """Predict the mask (D, H, W) uint8 of one scan (C, D, H, W), its modalities in the trial's
        order.

        Axes point to superior, anterior and right; any D, H, W will do. `params["spacing_mm"]`:
        the size of a voxel along them. Raises ValueError for another number of modalities.
        """
        image = np.asarray(model_input, dtype=np.float32)
        wanted = self.spec.data.modalities
        if image.ndim != 4 or len(image) != len(wanted):
            raise ValueError(f"needs (C, D, H, W) with C = {', '.join(wanted)}; got {image.shape}")
        depth, height, width = (params or {}).get("spacing_mm", SPACING_MM)
        return self._mask(image, (float(depth), float(height), float(width)))

    def _mask(self, image: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
        data = self.spec.data
        field = view_of(image, spacing_mm, *way(data.name, data.grid, data.view))
        return field.mask([self.method.segment(block) for block in field.images])


set_model(Servable())
