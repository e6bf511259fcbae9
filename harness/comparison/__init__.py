"""Whether differences are real: the statistics of the models of a leaderboard."""
