from setuptools import find_packages, setup

setup(
    name="lumper_motion",
    version="0.1.0",
    packages=find_packages(exclude=["test", "benchmark"]),
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/lumper_motion"]),
        ("share/lumper_motion", ["package.xml"]),
    ],
    install_requires=["setuptools"],
    zip_safe=True,
    maintainer="Lumper maintainers",
    maintainer_email="maintainers@lumper.dev",
    description="motion_broker: every arm motion asked for, checked, timed, stoppable, done exactly once.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "motion_broker = lumper_motion.main:main",
            "journal = lumper_motion.journal_main:main",
        ]
    },
)
