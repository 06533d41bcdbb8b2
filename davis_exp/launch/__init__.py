"""From a command line to a job in a folder of its own: Hydra carried, runs claimed, sweeps, states."""
