"""Files on any Beam filesystem, and what the object stores among them need."""
