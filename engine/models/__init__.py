"""The networks that rigpose trains, in torch; what runs is their export (`training.export`)."""
