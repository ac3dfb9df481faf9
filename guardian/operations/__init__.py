"""Operating an instance.

checks   the checklist that ``guardian check`` prints
proofs   what each of its lines does to be sure
"""
