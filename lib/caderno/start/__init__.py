"""How a project begins: a new one from the template, or notebooks that exist already."""
