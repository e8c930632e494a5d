"""The data sets that mg-data can import. Imports the contract and nothing heavy."""

from __future__ import annotations

from mg_data.contract import DatasetSpec

DATASETS: tuple[DatasetSpec, ...] = (
    DatasetSpec(
        name="imigue",
        summary="iMiGUE as the MiGA challenge ships it: 32 micro-gestures, OpenPose keypoints, RGB video",
        factory="mg_data.datasets.imigue:import_imigue",
        frames="mg_data.datasets.imigue:open_frames",
        streams=("rgb",),
        options={"keypoints": "openpose", "labels": "raw", "subjects": "subjects.csv", "ids": ""},
    ),
    DatasetSpec(
        name="synthetic",
        summary="what 'mg data synth' writes: the layouts of imigue under a name of its own",
        factory="mg_data.datasets.imigue:import_imigue",
        frames="mg_data.datasets.imigue:open_frames",
        streams=("rgb",),
        options={"keypoints": "openpose", "labels": "raw", "subjects": "subjects.csv", "ids": ""},
    ),
    DatasetSpec(
        name="utd-mhad",
        summary="UTD-MHAD: 27 actions, 8 subjects, Kinect skeleton and depth, one inertial sensor",
        factory="mg_data.datasets.utd_mhad:import_utd_mhad",
        frames="mg_data.datasets.utd_mhad:open_frames",
        streams=("depth",),
        mirror_classes=((0, 1), (8, 9)),
        options={"inertial": True},
    ),
)
