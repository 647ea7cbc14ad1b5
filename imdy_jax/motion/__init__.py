"""Motion: recorded or built-in clips, from file to a person who can play them."""
