"""What tasks share whose policies write: words and ids, what a text earns, rows to imitate, samples on their way to their reward."""
