"""Recurrent attention: a policy that sees an image through glimpses and learns where to look."""
