"""Methods of the group 'prepare'."""
