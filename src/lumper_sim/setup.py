from setuptools import setup

setup(
    name="lumper_sim",
    version="0.1.0",
    packages=["lumper_sim"],
    package_data={"lumper_sim": ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/lumper_sim"]),
        ("share/lumper_sim", ["package.xml"]),
    ],
    install_requires=["setuptools"],
    zip_safe=False,
    maintainer="Lumper maintainers",
    maintainer_email="maintainers@lumper.dev",
    description="Simulated trailer: the world's stand-in behind the interfaces of real hardware",
    license="Apache-2.0",
    entry_points={"console_scripts": ["trailer_sim = lumper_sim.main:main"]},
)
