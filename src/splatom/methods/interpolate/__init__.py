"""Fill the gaps of a tilt series.

Measured tilts stay bit for bit. New ones are flagged ``synthetic`` and weigh less, which every reconstruction heeds.
"""
