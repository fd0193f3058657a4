"""What all tests share: the plugin that obeys needs(), and hypothesis' settings."""

from __future__ import annotations

import os

from hypothesis import settings

# What a test does not say it does not get: a bridge would be the host's.
os.environ.setdefault("NEWROOT_NETWORK", "none")

pytest_plugins = ["newroot.testing.plugin"]

# No deadline: the machines that run this are shared.  In CI the same examples each time, so that
# what is red there is red here.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")
