"""Sources: one file for each kind of camera, found by its kind."""
