"""SETTLES: detaches the ghost, keeps its pidfile and lock, stops it from outside, and says so in the words of LSB."""
