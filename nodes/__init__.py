"""The processes of a rig: camera, engine, viewer, recorder, launch, status, and the `rigpose` command."""
