"""A draft becomes a program: instructions, words, and where their numbers lie."""
include "program/program.pxd"
