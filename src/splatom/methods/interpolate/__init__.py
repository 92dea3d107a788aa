"""Methods of the group 'interpolate'."""
