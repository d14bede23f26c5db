from setuptools import setup

setup(
    name="lumper_perception",
    version="0.1.0",
    packages=["lumper_perception"],
    package_data={"lumper_perception": ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/lumper_perception"]),
        ("share/lumper_perception", ["package.xml"]),
    ],
    install_requires=["setuptools"],
    zip_safe=False,
    maintainer="Lumper maintainers",
    maintainer_email="maintainers@lumper.dev",
    description="Clouds and detections become one tracked, versioned wall of cartons",
    license="Apache-2.0",
    entry_points={"console_scripts": ["perception_intake = lumper_perception.main:main"]},
)
