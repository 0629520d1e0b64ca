"""beamvec, the application: command line, pipeline graph, progress, report."""

__version__ = "0.1.0"
