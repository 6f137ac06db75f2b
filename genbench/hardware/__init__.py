"""Where arithmetic is done: device, threads, instruction set, precision, and what a machine has to
offer.
"""
