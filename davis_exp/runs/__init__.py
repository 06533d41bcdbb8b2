"""A run's folder: what lies in it is read, checked and written here. It may be anybody's."""
