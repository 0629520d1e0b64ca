"""The application: commands, runs, pages."""
