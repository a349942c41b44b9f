"""The data sets that people download: the names of their files, and the meaning of their labels.

Nothing but patterns (`harness.data.pattern`), modalities, and targets, the first of which is the
default. Facts are from the pages of the organisers.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from harness.data.by_pattern import Layout

Targets = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Preset:
    """One data set, as its archive is unpacked."""

    title: str
    modalities: tuple[str, ...]
    """The modalities taken when none are asked for; empty: all that are found."""
    targets: Targets
    layout: Layout
    expected: str
    """Names of files, for the message that no cases were found."""
    licence: str = "that of the volumes you bring"
    choose: bool = False
    """Whether a person has to name a target, because there is no default."""
    open_labels: bool = False
    """Whether masks may hold other labels than the targets consist of."""

    @property
    def labels(self) -> frozenset[int]:
        """All labels that a mask may hold; empty where the labels are not known."""
        if self.open_labels or not self.targets:
            return frozenset()
        return frozenset({0, *(label for labels in self.targets.values() for label in labels)})


def layout(images: Mapping[str, tuple[str, ...]], labels: tuple[str, ...], **more: str) -> Layout:
    """Make a layout of the patterns of each modality; "" for patterns with the field {modality}."""
    pairs = tuple((name, text) for name, texts in images.items() for text in texts)
    return Layout(pairs, labels, **more)  # type: ignore[arg-type]


GLIOMA = Layout(  # 2012-2021 with _, HGG and LGG apart until 2019; since 2023 with -
    tuple(
        ("", text)
        for text in (
            "{case}/{case}_{modality}",
            "HGG/{case}/{case}_{modality}",
            "LGG/{case}/{case}_{modality}",
            "{case}/{case}-{modality}",
        )
    ),
    ("{case}/{case}_seg", "HGG/{case}/{case}_seg", "LGG/{case}/{case}_seg", "{case}/{case}-seg"),
    misnamed=("{case:BraTS20_Training_355}/W39_1998.09.19_Segm",),
    patient="{patient:BraTS-*-#}-#",  # since 2023 the last number is a time point
)


def decathlon(
    task: str, title: str, modalities: tuple[str, ...], targets: Targets, case: str
) -> Preset:
    """Return the preset of a Medical Segmentation Decathlon task, or of nnU-Net's conversion of it.

    Several modalities are the volumes of a file's fourth axis, or files that end in _0000 …
    """
    images = tuple(
        pair
        for number, name in enumerate(modalities)
        for pair in (
            (name, f"imagesTr/{{case:{case}}}"),
            (name, f"imagesTr/{{case:{case}}}_{number:04d}"),
        )
    )
    return Preset(
        f"Decathlon {task}, {title}",
        modalities,
        targets,
        Layout(images, (f"labelsTr/{{case:{case}}}",)),
        f"imagesTr/ and labelsTr/ of {task}",
        "CC BY-SA 4.0",
    )


ORGANS = (
    "spleen",
    "right-kidney",
    "left-kidney",
    "gall-bladder",
    "esophagus",
    "liver",
    "stomach",
    "aorta",
    "postcava",
    "pancreas",
    "right-adrenal-gland",
    "left-adrenal-gland",
    "duodenum",
    "bladder",
    "prostate-uterus",
)

BIDS_PLACES = ("", "rawdata/", "derivatives/", "derivatives/@/")
BIDS_NAMES = (("sub-@/ses-@/", "{case:sub-@_ses-@}"), ("sub-@/", "{case:sub-@}"))
BIDS_MASKS = ("mask", "msk", "dseg")


def _bids() -> Layout:
    """Return a layout in BIDS: raw scans, and masks beside them or in derivatives, any entities."""
    places = [(place + folder, case) for place in BIDS_PLACES for folder, case in BIDS_NAMES]
    images = tuple(
        ("", f"{folder}@/{case}{entities}_{{modality:@}}")
        for folder, case in places
        for entities in ("", "_@-*")
    )
    labels = tuple(
        f"{folder}{kind}{case}{entities}_{mask}"
        for folder, case in places
        for kind in ("@/", "")
        for entities in ("", "_@-*")
        for mask in BIDS_MASKS
    )
    return Layout(images, labels, patient="{patient:sub-@}_ses-@")


PRESETS: dict[str, Preset] = {
    "lits": Preset(
        "LiTS, liver CT with tumours",
        ("ct",),
        {"liver": (1, 2), "tumour": (2,)},
        layout(
            {"ct": ("volume-{case:#}", "*/volume-{case:#}")},
            ("segmentation-{case:#}", "*/segmentation-{case:#}"),
        ),
        "volume-0.nii with segmentation-0.nii",
        "CC BY-NC-ND 4.0",
    ),
    "kits": Preset(
        "KiTS, kidney CT with tumours and cysts",
        ("ct",),
        {"kidney": (1, 2, 3), "masses": (2, 3), "tumour": (2,), "cyst": (3,)},
        layout({"ct": ("{case}/imaging",)}, ("{case}/segmentation", "{case}/aggregated_MAJ_seg")),
        "case_00000/imaging.nii.gz with segmentation.nii.gz",
        "CC BY-NC-SA 4.0",
    ),
    "totalsegmentator": Preset(
        "TotalSegmentator, CT or MR with a mask for each organ",
        (),
        {},
        layout({"ct": ("{case}/ct",), "mr": ("{case}/mri",)}, ("{case}/segmentations/{target}",)),
        "s0000/ct.nii.gz with s0000/segmentations/<organ>.nii.gz",
        "CC BY 4.0",
        choose=True,
    ),
    "amos": Preset(
        "AMOS, abdominal CT and MR with 15 organs",
        ("image",),
        {name: (number,) for number, name in enumerate(ORGANS, start=1)},
        layout(
            {"image": ("imagesTr/{case:amos_#}", "imagesVa/{case:amos_#}")},
            ("labelsTr/{case:amos_#}", "labelsVa/{case:amos_#}"),
        ),
        "imagesTr/amos_0001.nii.gz with labelsTr/",
        "CC BY 4.0",
        choose=True,
    ),
    "acdc": Preset(
        "ACDC, cine MR of hearts at two times",
        ("cine",),
        {"lv": (3,), "myo": (2,), "rv": (1,), "heart": (1, 2, 3)},
        layout(
            {"cine": tuple(f"{place}@/{{case:@_frame#}}" for place in ("", "*/"))},
            tuple(f"{place}@/{{case:@_frame#}}_gt" for place in ("", "*/")),
            patient="{patient:@}_frame#",
        ),
        "patient001/patient001_frame01.nii.gz with patient001_frame01_gt.nii.gz",
    ),
    "bids": Preset(
        "BIDS, scans with masks beside them or in derivatives",
        (),
        {"mask": (1,)},
        _bids(),
        "sub-01/anat/sub-01_T1w.nii.gz with sub-01_label-L_mask.nii.gz",
        open_labels=True,
    ),
    "braintumour": decathlon(
        "Task01",
        "glioma MR",
        ("flair", "t1w", "t1gd", "t2w"),
        {"wt": (1, 2, 3), "tc": (2, 3), "et": (3,)},
        "BRATS_#",
    ),
    "heart": decathlon("Task02", "left atrium MR", ("mr",), {"atrium": (1,)}, "la_#"),
    "hippocampus": decathlon(
        "Task04",
        "hippocampus MR",
        ("mr",),
        {"hippocampus": (1, 2), "anterior": (1,), "posterior": (2,)},
        "hippocampus_#",
    ),
    "prostate": decathlon(
        "Task05",
        "prostate MR",
        ("t2", "adc"),
        {"prostate": (1, 2), "pz": (1,), "tz": (2,)},
        "prostate_#",
    ),
    "lung": decathlon("Task06", "lung CT", ("ct",), {"tumour": (1,)}, "lung_#"),
    "pancreas": decathlon(
        "Task07",
        "pancreas CT",
        ("ct",),
        {"pancreas": (1, 2), "tumour": (2,)},
        "pancreas_#",
    ),
    "hepaticvessel": decathlon(
        "Task08",
        "hepatic vessel CT",
        ("ct",),
        {"vessel": (1,), "tumour": (2,)},
        "hepaticvessel_#",
    ),
    "spleen": decathlon("Task09", "spleen CT", ("ct",), {"spleen": (1,)}, "spleen_#"),
    "colon": decathlon("Task10", "colon CT", ("ct",), {"tumour": (1,)}, "colon_#"),
}
