from setuptools import find_packages, setup

package_name = "lumper_view"

setup(
    name=package_name,
    version="0.1.0",
    packages=find_packages(exclude=["test", "benchmark"]),
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + package_name]),
        ("share/" + package_name, ["package.xml"]),
    ],
    install_requires=["setuptools"],
    zip_safe=True,
    maintainer="Lumper maintainers",
    maintainer_email="maintainers@lumper.dev",
    description="Nodes scene_markers and operator_panel: what people see of the robot, and what they tell it.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "scene_markers = lumper_view.main:scene_markers",
            "operator_panel = lumper_view.main:operator_panel",
        ]
    },
)
