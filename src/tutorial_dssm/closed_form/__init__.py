"""Second floor: the referees, models whose answer is known."""
