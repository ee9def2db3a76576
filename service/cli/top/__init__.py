"""`trainyard top`: the yard on one screen, live.

view     pure: what there is to see -> lines of a size
look     a thread that asks the store again and again, and does what keys ask for
terminal the terminal as it has to be while we have it, and as it was before afterwards
screen   the loop: keys, signals and looks in, frames out
"""
