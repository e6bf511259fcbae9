"""What runs leave on disk, and who may write it."""
