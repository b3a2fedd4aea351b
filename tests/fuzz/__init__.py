"""Damaged files, one after the other, through the command line and the library.

An input is a target (a kind of file) and a number, which alone decides what is damaged: the same on
every machine. What comes of it is right only if it is an answer of finite numbers or one
``TersorError`` of one line. ``make fuzz`` runs thousands and writes the table of
``docs/measured/robustness.md``; ``PYTHONPATH=tests python -m fuzz --only config:123`` runs one
again.

mutations  values of JSON and YAML that nobody meant
damage     bytes and files that nobody meant
seeds      what is sound before it is damaged
targets    a kind of file each: its seeds, how it is damaged, what reads it
entrances  what reads it: a function of the library and a command
judging    what came of an input
worker     a process of its own for inputs, with a limit of time and memory
figures    the table
"""
