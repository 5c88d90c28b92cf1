"""From a file to a finding."""
