"""What every room may need: files read with care and written whole."""
