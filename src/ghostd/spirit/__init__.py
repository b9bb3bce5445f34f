"""WORKS. Runs only in the child: its first steps, its voice, and the ways to run the user's code."""
