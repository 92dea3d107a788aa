"""Methods of the group 'denoise'."""
