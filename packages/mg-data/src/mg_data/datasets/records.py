"""The data sets that mg-data can import. Imports the contract and nothing heavy."""

from __future__ import annotations

from mg_data.contract import DatasetSpec

_IMIGUE_OPTIONS = {
    "keypoints": "openpose",
    "labels": "raw",
    "subjects": "subjects.csv",
    "ids": "",
    "image_size": "",
    "whole": False,
    "background": 0,
}

DATASETS: tuple[DatasetSpec, ...] = (
    DatasetSpec(
        name="imigue",
        summary="iMiGUE as the MiGA challenge ships it: 32 micro-gestures, OpenPose keypoints, RGB video",
        factory="mg_data.datasets.imigue.importer:import_imigue",
        example="mg_data.datasets.examples:synthetic",
        frames="mg_data.datasets.imigue.importer:open_frames",
        streams=("rgb",),
        options=_IMIGUE_OPTIONS,
    ),
    DatasetSpec(
        name="synthetic",
        summary="what 'mg data synth' writes: the layouts of imigue under a name of its own",
        factory="mg_data.datasets.imigue.importer:import_imigue",
        example="mg_data.datasets.examples:synthetic",
        frames="mg_data.datasets.imigue.importer:open_frames",
        streams=("rgb",),
        options=_IMIGUE_OPTIONS,
    ),
    DatasetSpec(
        name="utd-mhad",
        summary="UTD-MHAD: 27 actions, 8 subjects, Kinect skeleton and depth, one inertial sensor",
        factory="mg_data.datasets.utd_mhad:import_utd_mhad",
        example="mg_data.datasets.examples:utd_mhad",
        frames="mg_data.datasets.utd_mhad:open_frames",
        streams=("depth",),
        mirror_classes=((0, 1), (8, 9)),
        options={"inertial": True},
    ),
    DatasetSpec(
        name="openpose",
        summary="raw OpenPose output: folders of *_keypoints.json files, people tracked, video beside them",
        factory="mg_data.datasets.openpose.importer:import_openpose",
        example="mg_data.datasets.examples:openpose",
        frames="mg_data.datasets.openpose.importer:open_frames",
        streams=("rgb",),
        options={
            "keypoints": "all",
            "persons": 1,
            "image_size": "",
            "clips": "",
            "classes": "",
            "min_confidence": 0.05,
            "max_gap": 300,
        },
    ),
    DatasetSpec(
        name="clips",
        summary="a csv of clips, cut out of keypoints of whole videos: a clips store, OpenPose JSON or .pose",
        factory="mg_data.datasets.clips.importer:import_clips",
        example="mg_data.datasets.examples:clips",
        frames="mg_data.datasets.clips.importer:open_frames",
        streams=("rgb",),
        options={"keypoints": "", "root": "", "classes": "", "vocabulary": "", "partial_points": False},
    ),
    DatasetSpec(
        name="pyskl",
        summary="annotation pickles of pyskl and mmaction2, read without executing anything in them",
        factory="mg_data.datasets.pyskl.importer:import_pyskl",
        example="mg_data.datasets.examples:pyskl",
        options={
            "layout": "",
            "persons": 0,
            "classes": "",
            "subject_pattern": "",
            "scheme": "",
            "table_out": "",
        },
    ),
    DatasetSpec(
        name="ntu",
        summary="NTU RGB+D .skeleton files, or json, npy, npz or txt files of joints in any layout",
        factory="mg_data.datasets.ntu.importer:import_ntu",
        example="mg_data.datasets.examples:ntu",
        options={"layout": "", "persons": 1, "clips": "", "classes": ""},
    ),
    DatasetSpec(
        name="pose",
        summary=".pose files of OpenPose or MediaPipe Holistic keypoints",
        factory="mg_data.datasets.pose.importer:import_pose",
        example="mg_data.datasets.examples:pose",
        options={"layout": "", "persons": 1, "partial_points": False, "clips": "", "classes": ""},
    ),
    DatasetSpec(
        name="videos",
        summary="whole videos, one clip each: what 'mg data pose' writes, here without keypoints",
        factory="mg_data.datasets.videos:import_videos",
        example="mg_data.datasets.examples:videos",
        frames="mg_data.datasets.videos:open_frames",
        streams=("rgb",),
    ),
)
