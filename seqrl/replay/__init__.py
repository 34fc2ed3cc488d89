"""What was experienced, kept to learn from it again."""
