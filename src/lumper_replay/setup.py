from setuptools import find_packages, setup

setup(
    name="lumper_replay",
    version="0.1.0",
    packages=find_packages(include=["lumper_replay"]),
    package_data={"lumper_replay": ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/lumper_replay"]),
        ("share/lumper_replay", ["package.xml"]),
    ],
    maintainer="Lumper maintainers",
    maintainer_email="maintainers@lumper.dev",
    description="Record, play, decide again and compare, look at: rosbag2 recordings of jobs",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "lumper_recorder = lumper_replay.recorder:main",
            "lumper_replay = lumper_replay.cli:main",
            "replay = lumper_replay.cli:main",
        ]
    },
)
