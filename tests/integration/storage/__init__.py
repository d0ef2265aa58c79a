"""Files: buckets, objects and their bytes."""
