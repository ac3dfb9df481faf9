"""Operating an instance: the checklist that ``guardian check`` proves line by line."""
