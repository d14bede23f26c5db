"""What people see of the robot, and what they tell it: RViz markers and the operator's page."""
