"""Methods of the group 'atoms'."""
