"""`python -m hmsactd` is `hmsactd`."""

from hmsactd.cli import main

main()
