"""Node perception_intake: clouds and detections become one tracked, versioned wall of cartons."""
