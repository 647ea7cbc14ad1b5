"""Studies of the library's own methods: how large their errors are, and what they come from."""
