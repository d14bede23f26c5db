"""Installs this package together with the repository's top-level launch/ and config/ trees."""

import os
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "lumper_bringup"
REPOSITORY = Path(__file__).resolve().parents[2]


def tree(name: str) -> list[tuple[str, list[str]]]:
    """Every file below the repository's folder `name`, to share/lumper_bringup/`name`. Paths must be relative to where setup.py runs."""
    top = REPOSITORY / name
    return [
        (
            str(Path("share", PACKAGE, name, folder.relative_to(top))),
            [os.path.relpath(file) for file in sorted(folder.iterdir()) if file.is_file()],
        )
        for folder in sorted([top, *(path for path in top.rglob("*") if path.is_dir())])
    ]


setup(
    name=PACKAGE,
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        *tree("launch"),
        *tree("config"),
    ],
    install_requires=["setuptools"],
    zip_safe=False,
    maintainer="Lumper maintainers",
    maintainer_email="maintainers@lumper.dev",
    description="Launch and parameter files, lifecycle manager and launcher of the Lumper robot.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "lumper_launch = lumper_bringup.launch:main",
            "lifecycle_manager = lumper_bringup.main:lifecycle_manager",
            "robot_state_publisher = lumper_bringup.main:robot_state_publisher",
            "demo = lumper_bringup.demo:main",
        ]
    },
)
