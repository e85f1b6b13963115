"""Files of 3D poses, one module a format: `recognises` looks at the content of a path, `read` makes `Poses3D` of it."""
