"""Files: objects in buckets, which are rows under row-level security, and their bytes."""
