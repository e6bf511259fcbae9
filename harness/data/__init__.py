"""Where examples come from: files, the Hub, the built-in sample; and their tokenised features."""
