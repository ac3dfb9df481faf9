"""Numbers only: detectors, channels, risk and EOCT as NumPy in, NumPy out. Imports nothing of Guardian's."""
