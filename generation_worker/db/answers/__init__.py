"""What the questions of ``insights`` are answered with, a module for each subject there."""
