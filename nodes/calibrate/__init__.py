"""`rigpose calibrate`: boards on a screen, pictures from files, sessions and live cameras, reports for people."""
