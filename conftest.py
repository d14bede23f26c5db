"""What holds for every test of the workspace."""

import hypothesis

# A machine that does something else meanwhile must not fail a property: how long things may take is measured by benchmarks.
hypothesis.settings.register_profile("lumper", deadline=None, print_blob=True)
hypothesis.settings.load_profile("lumper")
