"""Data sets of pictures with known 3D poses, each read into the same samples as the virtual rig's."""
