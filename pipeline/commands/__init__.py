"""The commands of `beamvec`: flags, one module a command, and what they print."""
