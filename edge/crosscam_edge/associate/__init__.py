"""From tracklets of many cameras to one identity per person."""
