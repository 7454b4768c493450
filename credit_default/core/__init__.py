"""What everything stands on: errors, settings, paths and the scales of numbers."""
