from setuptools import find_packages, setup

setup(
    name="lumper_safety",
    version="0.1.0",
    packages=find_packages(include=["lumper_safety"]),
    package_data={"lumper_safety": ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/lumper_safety"]),
        ("share/lumper_safety", ["package.xml"]),
    ],
    maintainer="Lumper maintainers",
    maintainer_email="maintainers@lumper.dev",
    description="Safety monitor: the permit to move, speed and separation, supervision of motion",
    license="Apache-2.0",
    entry_points={"console_scripts": ["safety_monitor = lumper_safety.main:main"]},
)
