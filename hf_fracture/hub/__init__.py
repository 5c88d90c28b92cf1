"""Cards and publication."""
