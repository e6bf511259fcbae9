"""What records say, as data: columns, rows, cells, costs and notes of a leaderboard."""
