"""Making models that beamvec takes, of others."""
