"""First floor: the models, a file each, behind one interface."""
