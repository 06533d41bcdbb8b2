"""What a mask is worth: arrays in, numbers out. Nothing here reads or writes a file."""

PROTOCOLS = ("contest", "davis2016", "all_frames")
