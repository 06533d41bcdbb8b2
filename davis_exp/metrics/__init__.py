"""What a mask is worth: arrays in, numbers out. Nothing here reads or writes a file."""
