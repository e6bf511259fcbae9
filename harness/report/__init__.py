"""Leaderboards as texts: Markdown, terminal, CSV, JSON, LaTeX; and what a folder or a run says of itself."""
