"""Captioners that ship with the package, `init_from: shipped:NAME`; each folder says how it was made."""
