"""The results as a page that a browser shows, and as pictures for papers; from records alone."""
