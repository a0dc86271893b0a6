"""Second floor: objectives, and the loop that trains."""
