"""Roost's services. They never import each other; what they have in common is in `shared`."""
