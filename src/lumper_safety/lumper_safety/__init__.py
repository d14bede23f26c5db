"""The safety monitor: decides 50 times a second whether the arm may move, how fast, and says why."""
