"""How Roost is brought up and down: `python -m deploy --help`. Needs nothing but the standard library."""
