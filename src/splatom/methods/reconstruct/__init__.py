"""Methods of the group 'reconstruct'."""
