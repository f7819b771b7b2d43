"""What detection is meant to reach, beside what it reaches here: every target from one command that can be resumed."""
