"""Attribution maps and their scores."""
