"""Ground floor: sequences of frames, made or read."""
