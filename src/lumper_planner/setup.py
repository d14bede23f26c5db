from setuptools import find_packages, setup

package_name = "lumper_planner"

setup(
    name=package_name,
    version="0.1.0",
    packages=find_packages(exclude=["test", "benchmark"]),
    package_data={package_name: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + package_name]),
        ("share/" + package_name, ["package.xml"]),
    ],
    install_requires=["setuptools"],
    zip_safe=True,
    maintainer="Lumper maintainers",
    maintainer_email="maintainers@lumper.dev",
    description="Node unload_planner: the job as a behaviour tree, and the plan of which carton next.",
    license="Apache-2.0",
    entry_points={"console_scripts": ["unload_planner = lumper_planner.main:main"]},
)
