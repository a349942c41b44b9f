"""A finished trial on new scans: the mask that is scored, on the voxels of the file."""

import gzip
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from helper_made_run import failed, made_run, made_trial, rewrite, row, scored
from safetensors.torch import save_file

from harness.data import phantom, volumes
from harness.data.cache import open_volume
from harness.data.datasets import way
from harness.data.nifti import read_image, read_label
from harness.data.reading import Reading
from harness.data.request import DataRequest
from harness.data.scan_view import view_of
from harness.data.targets import label_map
from harness.data.unlabelled import find, read
from harness.errors import DataError, StateError, UsageError
from harness.experiments.predict import Prediction, PredictRequest, predict
from harness.runs.run_folder import RunFolder
from harness.runs.spec import Data, TrialSpec, code_version
from harness.runs.trial_folder import TrialFolder
from harness.systems import catalogue as systems
from harness.systems.evaluate import evaluate
from harness.systems.methods import Method
from harness.systems.protocol import Protocol
from harness.trials.network import as_scored, as_trained, build, choose_trials

REDUCE = (8, 6, 6)
GRID = (16, 32, 32)
SHAPE = (132, 60, 200)  # more slices than the paper's grid, so that none is lost on the way back
ROWS = slice(11, 21)  # those of the grid that the scan's 60 rows fill
TINY = {
    "resunet3d_up": {"widths": (4, 4, 4)},
    "pfseg": {"widths": (4, 4, 4), "guidance_widths": (2, 2), "msres": "none"},
}
CASE = "BraTS20_Training_001"
OTHER = "BraTS20_Training_002"


@pytest.fixture(autouse=True, scope="module")
def _leave_torch_as_it_was() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scans") / "brats"
    phantom.write(folder, 2, SHAPE)
    return folder


@pytest.fixture(scope="module")
def livers(tmp_path_factory) -> Path:
    """One scan of 264 mm, of which a network sees 192 mm at once, with liver in 40 mm."""
    folder = tmp_path_factory.mktemp("scans") / "livers"
    image = np.random.default_rng(0).random((132, 40, 50), dtype=np.float32)
    label = np.zeros(image.shape, np.uint8)
    label[60:80, 10:30, 10:30] = 1
    image[label > 0] += 1
    for name, array in (("images", image), ("labels", label)):
        (folder / name).mkdir(parents=True)
        stored = nibabel.Nifti1Image(array.transpose(2, 1, 0), np.diag([3.0, 3, 2, 1]))
        nibabel.save(stored, folder / name / "liver_0.nii.gz")
    return folder


def specification(
    system: str, seed: int, dataset: str = "brats", modality: str = "flair", **options
) -> TrialSpec:
    complete = {**systems.options(system, "quick"), **TINY[system], **options}
    data = Data(name=dataset, modalities=(modality,), target="wt", grid=GRID, fingerprint="",
                synthetic=True)  # fmt: skip
    return TrialSpec(
        system=system, options=complete, protocol=Protocol(), data=data, split="", seed=seed,
        device="cuda", code=code_version(),
    )  # fmt: skip


def half_way(method: Method) -> Method:
    """Untrained, but with a mask that is neither empty nor full."""
    image = np.random.default_rng(0).random((1, *GRID), dtype=np.float32)
    middle = np.median(method.probability(image))
    for name, parameter in method.network.named_parameters():
        if name == "srt.finest.2.bias":
            parameter.data += 0.5  # above zero, where the ReLU lets gradients through
        elif name.endswith(("head.bias", "ust.finest.2.bias")):
            parameter.data -= float(np.log(middle / (1 - middle)))
    return method


def finish(run: RunFolder, spec: TrialSpec) -> TrialFolder:
    """Leave what a finished trial leaves, as if it had been trained on a GPU.

    The weights of each seed and of each fold are others.
    """
    folder = made_trial(run, spec)
    drawn = {"device": "cpu", "seed": spec.seed + spec.fold}
    method = half_way(build(spec.model_copy(update=drawn)))
    weights = {key: part.contiguous() for key, part in method.network.state_dict().items()}
    save_file(weights, folder.weights_file)
    scored(spec.system, sha256=folder.sums()).write(folder.result_file)
    return folder


UP = specification("resunet3d_up", 0)
UP_1 = specification("resunet3d_up", 1)
TUNED = specification("pfseg", 0, tpf="tfm")
PLAIN = specification("pfseg", 0, tpf="none")
LIVER = specification("resunet3d_up", 0, "liver", "ct")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    up, up_1, plain, tuned = (finish(folder, each) for each in (UP, UP_1, PLAIN, TUNED))
    ids = [trial.id for trial in (up, up_1, plain, tuned)]
    made_run(folder.path, {"table5": [row([up, up_1]), row([tuned])]}, [plain], trials=ids)
    return folder.path


def several(targets: dict[str, tuple[int, ...]], spec: TrialSpec = UP) -> TrialSpec:
    """The trial with several targets."""
    named = {"target": ",".join(targets), "targets": targets}
    return spec.model_copy(update={"data": spec.data.model_copy(update=named)})


FOLDS = {"resunet3d_up": UP, "pfseg": PLAIN}


@pytest.fixture(scope="module")
def crossed(tmp_path_factory) -> Path:
    """A cross-validation of three folds; the limits of intensities of the last are others."""
    folder = RunFolder(tmp_path_factory.mktemp("crossed"))
    rows = []
    for spec in FOLDS.values():
        view = spec.data.view.model_copy(update={"limits": ((0.0, 300.0),)})
        data = spec.data.model_copy(update={"view": view})
        last = spec.model_copy(update={"fold": 2, "data": data})
        specs = [spec, spec.model_copy(update={"fold": 1}), last]
        rows.append(row([finish(folder, each) for each in specs]))
    made_run(folder.path, {"table5": rows})
    return folder.path


def of_folds(run: Path, system: str, scan: Path, out: Path, **changes) -> Prediction:
    """What all folds of a system find in one scan, or one fold."""
    trials = choose_trials(run, system, None, changes.pop("fold", None))
    return predict(PredictRequest(run, trials, (scan,), out, probability=True, **changes))


@pytest.mark.parametrize("system", FOLDS)
def test_the_folds_answer_by_the_mean_of_their_probabilities(system, crossed, scans, tmp_path):
    folds = [
        read_image(of_folds(crossed, system, scans / CASE, tmp_path / f"{n}", fold=n).files[1])
        for n in range(3)
    ]
    done = of_folds(crossed, system, scans / CASE, tmp_path / "all")
    by_hand = np.mean([fold.array for fold in folds], axis=0)
    np.testing.assert_allclose(read_image(done.files[1]).array, by_hand, atol=1e-6)
    assert len({fold.array.tobytes() for fold in folds}) == 3
    assert 0.1 < read_label(done.files[0]).array.mean() < 0.9
    assert "the mean probability of 3 networks, those of folds 0, 1, 2" in done.notes


def test_the_folds_of_several_targets_answer_together(scans, tmp_path):
    spec = several({"anterior": (1,), "posterior": (2,)}, PLAIN)
    folder = RunFolder(tmp_path / "run")
    made = [finish(folder, spec.model_copy(update={"fold": fold})) for fold in (0, 1)]
    made_run(folder.path, {"table5": [row(made)]})
    found = [of_folds(folder.path, "pfseg", scans / CASE, tmp_path / f"{n}", fold=n)
             for n in (0, 1)]  # fmt: skip
    each = [[read_image(path).array for path in fold.files[1:]] for fold in found]
    done = of_folds(folder.path, "pfseg", scans / CASE, tmp_path / "all")
    both = [read_image(path).array for path in done.files[1:]]
    np.testing.assert_allclose(both, np.mean(each, axis=0), atol=1e-6)
    assert {*np.unique(read_label(done.files[0]).array)} == {0, 1, 2}


def test_a_fold_that_is_not_trained_is_named_before_anything_is_written(scans, tmp_path):
    folder = RunFolder(tmp_path / "run")
    made = [finish(folder, UP.model_copy(update={"fold": fold})) for fold in (0, 1)]
    made_run(folder.path, {"table5": [row(made)]})
    made[1].result_file.unlink()
    with pytest.raises(StateError, match=f"trial {made[1].id}: "):
        of_folds(folder.path, "resunet3d_up", scans, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert of_folds(folder.path, "resunet3d_up", scans / CASE, tmp_path / "out", fold=0).files


def test_several_folds_are_not_fine_tuned_at_once(crossed, scans, tmp_path):
    with pytest.raises(UsageError, match="fine-tunes one network, and there are 3"):
        of_folds(crossed, "pfseg", scans, tmp_path / "out", tpf="srt")
    assert len(of_folds(crossed, "pfseg", scans / CASE, tmp_path / "out", tpf="srt", fold=1).files)


@pytest.mark.parametrize(
    "targets, values",
    [
        ({"wt": (1, 2, 4), "tc": (1, 4), "et": (4,)}, {0, 1, 2, 4}),
        ({"anterior": (1,), "posterior": (2,)}, {0, 1, 2}),
    ],
    ids=["regions", "classes"],
)
def test_several_targets_are_one_label_map_or_a_file_each(targets, values, scans, tmp_path):
    spec = several(targets)
    made_run(tmp_path / "run", {"table5": [row([finish(RunFolder(tmp_path / "run"), spec)])]})
    asked = PredictRequest(tmp_path / "run", (spec.id,), (scans / CASE,), tmp_path / "map")
    drawn = predict(asked)
    apart = predict(replace(asked, out=tmp_path / "apart", separate=True, probability=True))
    assert [path.name for path in drawn.files] == [f"{CASE}.nii.gz"]
    names = [f"{CASE}_{name}{kind}.nii.gz" for kind in ("", "_prob") for name in targets]
    assert [path.name for path in apart.files] == names
    label = read_label(drawn.files[0]).array
    masks = [read_label(path).array for path in apart.files[: len(targets)]]
    assert {*np.unique(label)} <= values and (label > 0).any()
    assert np.array_equal(label, label_map(masks, targets))
    assert any(note.startswith("label maps: ") for note in drawn.notes)


def test_targets_that_no_map_shows_are_refused_before_anything_is_written(scans, tmp_path):
    spec = several({"a": (1, 2), "b": (2, 4)})
    made_run(tmp_path / "run", {"table5": [row([finish(RunFolder(tmp_path / "run"), spec)])]})
    with pytest.raises(UsageError, match="a and b overlap"):
        predict(PredictRequest(tmp_path / "run", (spec.id,), (scans,), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.fixture
def request_for(run, scans, tmp_path):
    def made(spec: TrialSpec = UP, *inputs: Path, **changes) -> PredictRequest:
        return replace(
            PredictRequest(run, (spec.id,), inputs or (scans,), tmp_path / "out"), **changes
        )

    return made


@pytest.fixture(scope="module")
def prepared(scans, tmp_path_factory) -> dict[str, np.ndarray]:
    """Case -> its image as it is prepared for training and scoring."""
    cache = tmp_path_factory.mktemp("cache")
    made = volumes.prepare(DataRequest("brats", scans, ("flair",), reduce=REDUCE), cache)
    return {case: np.array(open_volume(cache, key).image) for case, key in made.keys.items()}


@pytest.mark.parametrize("spec, folder", [(UP, "scans"), (LIVER, "livers")], ids=["brats", "liver"])
def test_the_mask_is_that_which_is_scored_on_the_scan(spec, folder, request, tmp_path):
    run = tmp_path / "run"
    made_run(run, {"table5": [row([finish(RunFolder(run), spec)])]})
    root, data = request.getfixturevalue(folder), spec.data
    asked = DataRequest(
        data.name, root, data.modalities, reduce=REDUCE, scored_on="scan",
        reading=Reading(intensity="minmax"),
    )  # fmt: skip
    made = volumes.prepare(asked, tmp_path / "cache")
    opened = [open_volume(tmp_path / "cache", key) for key in made.keys.values()]
    method = as_scored(run, spec.id, "cpu").method.for_inference()
    kept = {}
    back = way(data.name, data.grid, data.view)
    evaluate(method, opened, lambda case, masks, _: kept.update({case: masks.scan}), way=back)
    images = root / "images" if folder == "livers" else root
    done = predict(PredictRequest(run, (spec.id,), (images,), tmp_path / "out"))
    assert len(done.files) == len(kept)
    for path, mask in zip(done.files, kept.values(), strict=True):
        assert 0.1 < mask.mean() < 0.9
        np.testing.assert_array_equal(read_label(path).array, mask)


@pytest.mark.parametrize("asked, expected", [(0, 3), (1, 1)])
def test_as_many_processors_predict_as_scored_unless_others_are_asked_for(
    request_for, run, scans, asked, expected
):
    trial = RunFolder(run).trial(UP_1.id)
    rewrite(trial.result_file, trial.result(), environment={"threads": 3})
    before, used = torch.get_num_threads(), []
    predict(request_for(UP_1, scans / CASE, threads=asked),
            lambda *_: used.append(torch.get_num_threads()))  # fmt: skip
    assert used == [expected] and torch.get_num_threads() == before


def holds(path: Path, mask: np.ndarray) -> bool:
    """Whether the file has the value of `mask` where each voxel of the grid has its centre."""
    z = np.floor((np.arange(16) * 8 + 4) * 132 / 128).astype(int)
    y = np.arange(10) * 6 + 3
    x = np.arange(32) * 6 + 3 + (200 - 192) // 2
    assert 0.1 < mask[:, ROWS].mean() < 0.9
    return np.array_equal(read_label(path).array[np.ix_(z, y, x)], mask[:, ROWS])


@pytest.mark.parametrize("spec", [UP, TUNED], ids=lambda spec: spec.system)
def test_the_mask_of_a_prepared_case_is_the_one_that_is_scored(request_for, prepared, run, spec):
    done = predict(request_for(spec))
    method = as_scored(run, spec.id, "cpu").method
    for path, case in zip(done.files, (CASE, OTHER), strict=True):
        assert path.name == f"{case}.nii.gz"
        assert holds(path, method.segment(prepared[case]))


def test_what_is_random_is_drawn_from_the_name_as_when_the_case_was_scored(
    run, request_for, scans, prepared
):
    spec = specification("pfseg", 0, tpf="none", crop="random")
    finish(RunFolder(run), spec)
    [path] = predict(request_for(spec, scans / CASE)).files
    method = as_scored(run, spec.id, "cpu").method
    assert holds(path, method.at(CASE).segment(prepared[CASE]))
    assert not holds(path, method.at(OTHER).segment(prepared[CASE]))


def test_geometry_is_exactly_that_of_the_scan_and_values_are_0_and_1(request_for, scans):
    mask, probability = predict(request_for(UP, scans / CASE, probability=True)).files
    scan = nibabel.load(scans / CASE / f"{CASE}_flair.nii.gz")
    for path in (mask, probability):
        written = nibabel.load(path)
        assert written.shape == scan.shape
        np.testing.assert_array_equal(written.affine, scan.affine)
    assert probability.name == f"{CASE}_prob.nii.gz"
    assert np.unique(nibabel.load(mask).dataobj).tolist() == [0, 1]
    values = nibabel.load(probability).get_fdata()
    assert 0 <= values.min() < 0.5 < values.max() <= 1


def test_nothing_that_a_header_says_goes_into_the_results(request_for, scans, tmp_path):
    source = nibabel.load(scans / CASE / f"{CASE}_flair.nii.gz")
    for field in ("descrip", "aux_file", "db_name", "intent_name"):
        source.header[field] = b"DOE^JOHN"
    source.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"DOE^JOHN 1970"))
    nibabel.save(source, tmp_path / "scan.nii.gz")
    assert b"DOE^JOHN" in gzip.decompress((tmp_path / "scan.nii.gz").read_bytes())
    done = predict(request_for(UP, tmp_path / "scan.nii.gz", probability=True))
    for path in done.files:
        assert b"DOE^JOHN" not in path.read_bytes() + gzip.decompress(path.read_bytes())
    assert not any("DOE" in note for note in done.notes)


def test_the_order_in_which_a_scan_is_stored_does_not_matter(request_for, scans, tmp_path):
    source = nibabel.load(scans / CASE / f"{CASE}_flair.nii.gz")
    turned = source.as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
    nibabel.save(turned, tmp_path / "turned.nii.gz")
    straight, other = predict(request_for(UP, scans / CASE, tmp_path / "turned.nii.gz")).files
    np.testing.assert_array_equal(nibabel.load(other).affine, turned.affine)
    expected = nibabel.as_closest_canonical(nibabel.load(straight)).get_fdata()
    found = nibabel.as_closest_canonical(nibabel.load(other)).get_fdata()
    np.testing.assert_array_equal(found, expected)


def test_the_same_scan_again_gives_the_same_file(request_for, scans):
    [path] = predict(request_for(UP, scans / CASE)).files
    before = path.read_bytes()
    predict(request_for(UP, scans / CASE, overwrite=True))
    assert path.read_bytes() == before


def test_a_trial_of_the_phantom_takes_scans_in_its_layout(run, request_for, scans, prepared):
    spec = UP.model_copy(update={"data": UP.data.model_copy(update={"name": "phantom"})})
    finish(RunFolder(run), spec)
    [path] = predict(request_for(spec, scans / CASE)).files
    method = as_scored(run, spec.id, "cpu").method
    assert holds(path, method.segment(prepared[CASE]))


def test_a_liver_network_looks_at_the_whole_of_a_long_scan(run, request_for, tmp_path):
    liver = {"name": "liver", "modalities": ("ct",), "target": "liver"}
    spec = UP.model_copy(update={"data": UP.data.model_copy(update=liver)})
    finish(RunFolder(run), spec)
    stored = np.random.default_rng(0).normal(0, 100, (20, 20, 100)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(stored, np.diag([1.0, 1, 4, 1])), tmp_path / "ct.nii.gz")
    [_, probability] = predict(request_for(spec, tmp_path / "ct.nii.gz", probability=True)).files
    found = nibabel.load(probability)
    assert found.shape == (20, 20, 100)
    assert (found.get_fdata() > 0).any(axis=(0, 1)).all()  # 0 is where no network looked


def test_bad_scans_are_all_reported_and_the_others_are_predicted(request_for, scans, tmp_path):
    (tmp_path / "empty.nii").touch()
    (tmp_path / "text.nii").write_text("no volume " * 100)
    inputs = (tmp_path / "empty.nii", scans / CASE, tmp_path / "text.nii", tmp_path / "absent.nii")
    told = []
    with pytest.raises(DataError) as caught:
        predict(request_for(UP, *inputs), lambda *state: told.append(state))
    assert all(name in str(caught.value) for name in ("empty.nii", "text.nii", "absent.nii"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"{CASE}.nii.gz"]
    assert told == [(3, 4, CASE), (4, 4, "text")]


@pytest.mark.parametrize("value", [np.nan, np.inf, -7.0])
def test_an_answer_that_is_no_probability_is_an_error_and_no_mask(
    request_for, tmp_path, monkeypatch, value
):
    whole = Method.probability

    def broken(method, image):
        found = whole(method, image)
        if method.case == OTHER:
            found[0, 0, 0] = value
        return found

    monkeypatch.setattr(Method, "probability", broken)
    with pytest.raises(DataError, match=f"{OTHER}: the network's answer is no mask") as caught:
        predict(request_for())
    assert caught.value.code == "PFB-D17"
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"{CASE}.nii.gz"]


def test_progress_counts_every_case_once(request_for):
    told = []
    predict(request_for(), lambda *state: told.append(state))
    assert told == [(1, 2, CASE), (2, 2, OTHER)]


def test_nothing_to_predict_is_an_error_and_leaves_no_folder(request_for, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="0 cases found"):
        predict(request_for(UP, tmp_path / "empty"))
    assert not (tmp_path / "out").exists()


def test_results_that_are_there_stay_unless_told_otherwise(request_for, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / f"{OTHER}.nii.gz").write_text("mine")
    with pytest.raises(UsageError, match=f"{OTHER}.nii.gz.*--overwrite"):
        predict(request_for())
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"{OTHER}.nii.gz"]
    predict(request_for(overwrite=True))
    assert set(np.unique(read_label(tmp_path / "out" / f"{OTHER}.nii.gz").array)) == {0, 1}


@pytest.mark.parametrize(("spec", "tpf"), [(UP, ""), (PLAIN, "srt")])
def test_the_same_command_goes_on_where_it_was_cut_off_and_no_other(
    request_for, tmp_path, monkeypatch, spec, tpf
):
    def cut(done, total, what):
        if what == CASE:
            monkeypatch.setattr("shutil.rmtree", lambda place: None)  # as if it were killed
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(request_for(spec, tpf=tpf), cut)
    monkeypatch.undo()
    first = tmp_path / "out" / f"{CASE}.nii.gz"
    written = first.stat().st_mtime_ns
    (tmp_path / "out" / ".pfbench" / "left.npy").touch()
    with pytest.raises(UsageError, match="there already"):
        predict(request_for(spec, tpf=tpf, probability=True))
    done = predict(request_for(spec, tpf=tpf))
    assert {path.name for path in done.files} == {f"{CASE}.nii.gz", f"{OTHER}.nii.gz"}
    assert first.stat().st_mtime_ns == written
    assert sorted((tmp_path / "out").iterdir()) == sorted(done.files)


def test_a_scan_is_never_replaced_by_its_mask(request_for, scans, tmp_path):
    scan = Path(shutil.copy(scans / CASE / f"{CASE}_flair.nii.gz", tmp_path / "scan.nii.gz"))
    before = scan.read_bytes()
    with pytest.raises(UsageError, match="replace the scan"):
        predict(request_for(UP, scan, out=tmp_path, overwrite=True))
    assert scan.read_bytes() == before


def test_a_mask_and_a_probability_of_one_name_are_refused(request_for, tmp_path):
    for name in ("a", "a_prob"):
        (tmp_path / f"{name}.nii").write_text("not read")
    with pytest.raises(UsageError, match=r"a_prob\.nii\.gz"):
        predict(request_for(UP, tmp_path / "a.nii", tmp_path / "a_prob.nii", probability=True))


def test_fine_tuning_starts_from_the_network_as_trained_and_learns_from_the_scans_given(
    request_for, run, scans, prepared
):
    threads = torch.get_num_threads()
    done = predict(request_for(TUNED, tpf="tfm", probability=True, threads=threads))
    method = as_trained(run, TUNED.id, "tfm", "cpu").method
    before = method.probability(prepared[CASE])
    after = method.adapt([prepared[CASE], prepared[OTHER]]).probability(prepared[CASE])
    assert not np.array_equal(before, after)
    field = view_of(
        read(find([scans / CASE], ("flair",)).cases[0]).image, (1, 1, 1), "brats", REDUCE
    )
    found = read_image(done.files[1]).array
    np.testing.assert_array_equal(found, field.probability([after]))


def test_without_fine_tuning_the_base_of_a_fine_tuned_trial_is_applied(
    request_for, run, scans, prepared
):
    [path] = predict(request_for(TUNED, scans / CASE, tpf="none")).files
    base = as_scored(run, PLAIN.id, "cpu").method
    assert holds(path, base.segment(prepared[CASE]))


def test_fine_tuning_leaves_nothing_but_results(request_for, tmp_path):
    told = []
    predict(request_for(PLAIN, tpf="srt"), lambda *state: told.append(state))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"{CASE}.nii.gz",
        f"{OTHER}.nii.gz",
    ]
    assert [(done, total) for done, total, _ in told] == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    "spec, tpf, said",
    [
        (UP, "tfm", "resunet3d_up has no test-phase fine-tuning; pfseg has"),
        (TUNED, "tfn", "it must be one of"),
        (
            specification("pfseg", 5, srt=False, tel=False, ssl="none", tpf="none"),
            "srt",
            "srt=true",
        ),
    ],
)
def test_fine_tuning_that_cannot_be_is_refused_in_a_sentence(run, request_for, spec, tpf, said):
    finish(RunFolder(run), spec)
    with pytest.raises(UsageError, match=said) as caught:
        predict(request_for(spec, tpf=tpf))
    assert caught.value.where == "--tpf"


@pytest.fixture
def own_run(run, tmp_path) -> Path:
    """A copy, to be damaged."""
    return Path(shutil.copytree(run, tmp_path / "run"))


def test_only_a_finished_trial_predicts(request_for, own_run):
    result = RunFolder(own_run).trial(UP.id).result_file
    failed("nan_loss").write(result)
    with pytest.raises(StateError, match="failed"):
        predict(request_for(run=own_run))
    result.unlink()
    with pytest.raises(StateError, match="has not been trained"):
        predict(request_for(run=own_run))


@pytest.mark.parametrize(
    "damage, said",
    [
        (lambda path: path.unlink(), "has no weights"),
        (lambda path: path.write_bytes(path.read_bytes()[:-8]), "damaged"),
        (lambda path: shutil.copy(path.parent.parent / PLAIN.id / path.name, path), "damaged"),
    ],
    ids=["missing", "truncated", "of another network"],
)
def test_weights_that_cannot_be_used_name_the_trial(request_for, own_run, damage, said):
    damage(own_run / "trials" / UP.id / "weights.safetensors")
    with pytest.raises(StateError, match=said) as caught:
        predict(request_for(run=own_run))
    assert UP.id in caught.value.where


def test_a_trial_of_other_code_is_noted(request_for, run, scans):
    spec = UP.model_copy(update={"code": "0.0.1+000000000000"})
    finish(RunFolder(run), spec)
    assert "0.0.1+000000000000" in predict(request_for(spec, scans / CASE)).notes[0]


@pytest.mark.parametrize(
    "name, seed, expected",
    [
        (UP_1.id, None, UP_1),
        ("resunet3d_up", None, UP),
        ("ResUNet3D↑", 1, UP_1),
        ("pfseg", None, TUNED),
        (PLAIN.id, None, PLAIN),
    ],
)
def test_a_trial_is_chosen_by_id_or_name_and_seed(run, name, seed, expected):
    assert choose_trials(run, name, seed) == (expected.id,)


@pytest.mark.parametrize(
    "name, seed, listed",
    [
        (None, None, (UP, UP_1, TUNED)),
        ("unet3d", None, (UP, UP_1, PLAIN, TUNED)),
        ("resunet3d_up", 7, (UP, UP_1)),
    ],
)
def test_an_unclear_choice_lists_the_candidates(run, name, seed, listed):
    names = RunFolder(run).run().names
    with pytest.raises(UsageError) as caught:
        choose_trials(run, name, seed)
    lines = str(caught.value).splitlines()[1:]
    assert lines == [f"  {spec.id}  {names[spec.id]}" for spec in listed]
