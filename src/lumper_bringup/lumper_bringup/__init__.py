"""Starting and minding the nodes: launcher, lifecycle manager, robot state publisher, demonstration."""
