from setuptools import find_packages, setup

setup(
    name="lumper_ros",
    version="0.1.0",
    packages=find_packages(include=["lumper_ros"]),
    package_data={"lumper_ros": ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/lumper_ros"]),
        ("share/lumper_ros", ["package.xml"]),
    ],
    maintainer="Lumper maintainers",
    maintainer_email="maintainers@lumper.dev",
    description="Shared glue of the Lumper nodes",
    license="Apache-2.0",
)
