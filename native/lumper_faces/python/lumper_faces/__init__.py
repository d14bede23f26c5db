"""Carton faces in organised depth clouds."""

from lumper_faces._faces import Options, segment

__all__ = ["Options", "segment"]
