"""The basis of all packages: errors, settings, files, paths, PD and log-odds."""
