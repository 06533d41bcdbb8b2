"""Pages for a browser: each one file that holds its style, its script and its pictures, and asks for nothing."""
